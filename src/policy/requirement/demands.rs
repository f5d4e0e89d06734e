//! What rules demand of tokens, and the header values that claims are compared with.

use std::rc::Rc;

use crate::{ids::ProviderId, policy::headers::Headers, token::claim_rules::Demands};

/// A longer value of a header equals no claim. Parked requests keep the values.
const MAX_VALUE_BYTES: usize = 8192;

/// Demands of the configuration, by their position there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DemandsId(usize);

/// All demands of a configuration.
#[derive(Clone, Debug, Default)]
pub struct DemandsTable {
    demands: Vec<Demands>,
    /// What each request demands of the tokens of a provider, whatever its rule is; in the order of the providers.
    of_provider: Vec<(ProviderId, DemandsId)>,
}

impl DemandsTable {
    /// Adds demands. `None`: nothing is demanded.
    pub fn add(&mut self, demands: Demands) -> Option<DemandsId> {
        if demands.is_empty() {
            return None;
        }
        self.demands.push(demands);
        Some(DemandsId(self.demands.len().saturating_sub(1)))
    }

    /// Adds what each request demands of the tokens of a provider. No later provider was added before.
    pub fn add_of_provider(&mut self, provider: ProviderId, demands: Demands) {
        let id = self.add(demands);
        self.of_provider.extend(id.map(|id| (provider, id)));
    }

    /// What each request demands of the tokens of this provider.
    pub fn of_provider(&self, provider: ProviderId) -> Option<DemandsId> {
        let at = self.of_provider.binary_search_by_key(&provider, |(known, _)| *known).ok()?;
        self.of_provider.get(at).map(|(_, id)| *id)
    }

    /// These demands.
    pub fn get(&self, id: DemandsId) -> Option<&Demands> {
        self.demands.get(id.0)
    }
}

/// The values of those headers of one request that demands name.
#[derive(Debug, Default)]
pub struct CapturedHeaders(Vec<CapturedHeader>);

#[derive(Debug)]
struct CapturedHeader {
    name: Rc<str>,
    /// `None`: the header has no value that could equal a claim.
    value: Option<Box<[u8]>>,
}

impl CapturedHeaders {
    /// Keeps the values of the headers that these demands name.
    pub(super) fn capture(&mut self, demands: &Demands, headers: Headers<'_>) {
        for rule in &demands.headers {
            if !self.0.iter().any(|known| known.name == rule.header) {
                let value = only_value(headers, &rule.header).map(Box::from);
                self.0.push(CapturedHeader { name: rule.header.clone(), value });
            }
        }
    }

    /// The value of this header. `None`: the header has no value that could equal a claim, or was not captured.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|known| *known.name == *name)?.value.as_deref()
    }

    /// About the memory that the values take.
    pub(super) fn bytes(&self) -> usize {
        let of_value = |header: &CapturedHeader| header.value.as_ref().map_or(0, |value| value.len());
        let of_headers = self.0.iter().map(|header| of_value(header).saturating_add(size_of::<CapturedHeader>()));
        of_headers.fold(0, usize::saturating_add)
    }
}

/// The value of a header that occurs once, and is neither empty nor too long.
fn only_value<'h>(headers: Headers<'h>, name: &str) -> Option<&'h [u8]> {
    let mut values = headers.all(name);
    let value = values.next().filter(|value| (1..=MAX_VALUE_BYTES).contains(&value.len()))?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{claim_rules::HeaderRule, claims::ClaimName};

    #[test]
    fn only_a_header_with_one_value_is_compared() {
        let long = [b'a'; MAX_VALUE_BYTES + 1];
        let demands = |name: &str| {
            let claim = ClaimName::Dotted("c".to_owned());
            Demands { headers: vec![HeaderRule { claim, header: name.into() }], ..Demands::default() }
        };
        let list = [
            (":authority", &b"h"[..]),
            ("X-Case", b"a"),
            ("x-two", b"a"),
            ("x-two", b"a"),
            ("x-first-empty", b""),
            ("x-first-empty", b"a"),
            ("x-comma", b"a,b"),
            ("x-empty", b""),
            ("x-long", &long),
            ("x-longest", &long[1..]),
        ];
        let headers = Headers::new(&list);
        for (name, value) in [
            (":authority", Some(&b"h"[..])),
            ("x-case", Some(b"a")),
            ("x-two", None),
            ("x-first-empty", None),
            ("x-comma", Some(b"a,b")),
            ("x-empty", None),
            ("x-missing", None),
            ("x-long", None),
            ("x-longest", Some(&long[1..])),
        ] {
            let mut captured = CapturedHeaders::default();
            assert_eq!((captured.get(name), captured.bytes()), (None, 0));
            captured.capture(&demands(name), headers);
            captured.capture(&demands(name), headers);
            assert_eq!((captured.get(name), captured.0.len()), (value, 1), "{name}");
            assert!(captured.bytes() > value.map_or(0, <[u8]>::len));
        }
    }

    #[test]
    fn a_provider_may_demand_something_of_each_request() {
        let mut table = DemandsTable::default();
        let scopes = |scope: &str| Demands { scopes: vec![scope.to_owned()], ..Demands::default() };
        let first = table.add(scopes("a")).unwrap();
        table.add_of_provider(ProviderId::new(1), Demands::default());
        table.add_of_provider(ProviderId::new(2), scopes("b"));
        assert_eq!(table.add(Demands::default()), None);
        assert_eq!([0, 1].map(|index| table.of_provider(ProviderId::new(index))), [None, None]);
        let second = table.of_provider(ProviderId::new(2)).unwrap();
        let scope = |id| &table.get(id).unwrap().scopes[0];
        assert_eq!((scope(first).as_str(), scope(second).as_str()), ("a", "b"));
    }
}
