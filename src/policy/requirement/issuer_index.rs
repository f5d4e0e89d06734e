//! Providers by the issuers whose tokens they accept. A lookup takes as long for many issuers and tenants as for few.

use crate::{
    sorted,
    token::issuers::{Issuers, Template},
};

/// Numbers, each of a provider that accepts some issuers.
#[derive(Clone, Debug, Default)]
pub(super) struct IssuerIndex {
    exact: Vec<(String, Vec<usize>)>,
    /// The lengths of the texts with which templates begin.
    lengths: Vec<usize>,
    /// The indices in `templates`, by the text with which the template begins.
    by_start: Vec<(String, Vec<usize>)>,
    templates: Vec<(Template, usize)>,
    /// Those that accept any issuer.
    of_any: Vec<usize>,
}

impl IssuerIndex {
    /// An index of these numbers, which ascend.
    pub(super) fn new<'i>(entries: impl Iterator<Item = (usize, &'i Issuers)>) -> Self {
        let (mut index, mut exact, mut by_start) = (Self::default(), Vec::new(), Vec::new());
        for (number, issuers) in entries {
            exact.extend(issuers.exact().iter().map(|issuer| (issuer.clone(), number)));
            for template in issuers.templates() {
                let (start, _) = template.parts();
                by_start.push((start.to_owned(), index.templates.len()));
                if !index.lengths.contains(&start.len()) {
                    index.lengths.push(start.len());
                }
                index.templates.push((template.clone(), number));
            }
            if issuers.is_any() {
                index.of_any.push(number);
            }
        }
        Self { exact: sorted::group(exact), by_start: sorted::group(by_start), ..index }
    }

    /// The numbers of those that name this issuer, each once and in ascending order.
    pub(super) fn of(&self, iss: &str) -> Vec<usize> {
        let mut numbers = sorted::get(&self.exact, iss.as_bytes()).cloned().unwrap_or_default();
        let starts = self.lengths.iter().filter_map(|length| iss.get(..*length));
        for template in starts.filter_map(|start| sorted::get(&self.by_start, start.as_bytes())).flatten() {
            let entry = self.templates.get(*template);
            if let Some((_, number)) = entry.filter(|(template, _)| template.tenant(iss).is_some()) {
                if let Err(at) = numbers.binary_search(number) {
                    numbers.insert(at, *number);
                }
            }
        }
        numbers
    }

    /// Whether a provider names this issuer, or a template begins and ends like the issuer, whatever the tenant. What is longer
    /// than `longest` need not end like a template.
    pub(super) fn resembles(&self, iss: &[u8], longest: usize) -> bool {
        let starts = self.lengths.iter().filter_map(|length| Some((iss.get(..*length)?, iss.get(*length..)?)));
        let mut found = starts.flat_map(|(start, rest)| {
            let templates = sorted::get(&self.by_start, start).into_iter().flatten();
            templates.filter_map(move |template| Some((self.templates.get(*template)?.0.parts().1, rest)))
        });
        sorted::get(&self.exact, iss).is_some()
            || found.any(|(end, rest)| rest.ends_with(end.as_bytes()) || iss.len() > longest)
    }

    /// The numbers of those that accept any issuer.
    pub(super) fn of_any(&self) -> &[usize] {
        &self.of_any
    }

    /// The first that accepts this issuer. Those that name the issuer go before templates, and templates before those that
    /// accept any.
    pub(super) fn first(&self, iss: &str) -> Option<usize> {
        let exact = sorted::get(&self.exact, iss.as_bytes()).and_then(|numbers| numbers.first().copied());
        exact.or_else(|| self.of(iss).first().copied()).or_else(|| self.of_any.first().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::issuers::Tenants;

    fn template(text: &str, tenants: &[&str]) -> Issuers {
        let tenants = match tenants {
            [] => Tenants::Any,
            listed => Tenants::listed(listed.iter().map(|tenant| (*tenant).to_owned()).collect()),
        };
        Issuers::new(Vec::new(), vec![Template::parse(text, tenants).unwrap()])
    }

    #[test]
    fn an_issuer_is_found_by_its_text_and_by_the_template_that_it_fits() {
        let both = Issuers::new(
            vec!["https://e/a/v2".into(), "https://x".into()],
            template("https://e/{tid}/v2", &["b"]).templates().to_vec(),
        );
        let providers = [
            Issuers::new(vec!["https://e/a/v2".into()], Vec::new()),
            template("https://e/{tid}/v2", &[]),
            template("https://e/{tid}/v1", &[]),
            template("https://e/t-{tid}/v2", &["1"]),
            both,
            Issuers::default(),
        ];
        let index = IssuerIndex::new(providers.iter().enumerate());
        for (iss, numbers) in [
            ("https://e/a/v2", &[0, 1, 4][..]),
            ("https://e/b/v2", &[1, 4]),
            ("https://e/c/v2", &[1]),
            ("https://e/c/v1", &[2]),
            ("https://e/t-1/v2", &[1, 3]),
            ("https://e/t-2/v2", &[1]),
            ("https://x", &[4]),
            ("https://e//v2", &[]),
            ("https://e/v2", &[]),
            ("https://e/a/b/v2", &[]),
            ("https://e/a/v2/", &[]),
            ("https://é/a/v2", &[]),
            ("", &[]),
        ] {
            assert_eq!(index.of(iss), numbers, "{iss}");
            assert_eq!(index.first(iss), numbers.first().or(Some(&5)).copied(), "{iss}");
        }
        assert_eq!(index.of_any(), [5]);
    }

    /// Which of the two comes first in the configuration does not count.
    #[test]
    fn who_names_the_issuer_goes_before_a_template() {
        let providers = [template("https://e/{tid}/v2", &[]), Issuers::new(vec!["https://e/a/v2".into()], Vec::new())];
        let index = IssuerIndex::new(providers.iter().enumerate());
        assert_eq!((index.first("https://e/a/v2"), index.first("https://e/b/v2")), (Some(1), Some(0)));
    }

    /// Any part of a character may end where a template begins.
    #[test]
    fn an_issuer_may_have_any_characters() {
        let index = IssuerIndex::new([(0, &template("https://a{t}", &[]))].into_iter());
        for iss in ["https://é", "https:/é/x", "éééééééé"] {
            assert_eq!(index.of(iss), [0; 0]);
        }
    }
}
