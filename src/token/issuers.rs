//! Whose tokens a provider accepts: exact issuers, and templates of issuers with a tenant.
//!
//! No URL is ever made of a token. A template says which `iss` fits, and nothing else follows from the tenant.

use std::rc::Rc;

use super::{
    claims::{select, Claims},
    jws::Jws,
    TokenError,
};
use crate::sorted;

/// The longest tenant.
pub const MAX_TENANT_BYTES: usize = 128;

/// What stands for the tenant in the `issuer` of a key, as Entra publishes its keys.
const KEY_TENANT: &str = "{tenantid}";

/// The issuers whose tokens a provider accepts. The default accepts any issuer.
#[derive(Clone, Debug, Default)]
pub struct Issuers {
    /// Accepted values of `iss`, sorted.
    exact: Vec<String>,
    /// Accepted forms of `iss`.
    templates: Vec<Template>,
}

/// A form of `iss`: a tenant between two fixed texts.
#[derive(Clone, Debug)]
pub struct Template {
    before: String,
    /// The claim that must hold the tenant.
    claim: String,
    after: String,
    tenants: Tenants,
}

/// The tenants that a template accepts.
#[derive(Clone, Debug)]
pub enum Tenants {
    /// Any tenant.
    Any,
    /// These, sorted.
    Listed(Rc<[String]>),
}

impl Tenants {
    /// These tenants.
    pub fn listed(tenants: Vec<String>) -> Self {
        Self::Listed(sorted::texts(tenants).into())
    }

    fn contains(&self, tenant: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tenants) => sorted::contains(tenants, tenant),
        }
    }
}

/// Whether this can be a tenant: unreserved characters of a URI (RFC 3986 §2.3), and no segment that a path leaves out.
pub fn is_tenant(text: &str) -> bool {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    (1..=MAX_TENANT_BYTES).contains(&text.len())
        && text.bytes().all(is_unreserved)
        && text.bytes().any(|byte| byte != b'.')
}

impl Template {
    /// Reads a template: text with one `{claim}`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str, tenants: Tenants) -> Result<Self, &'static str> {
        const ONE: &str = "must contain exactly one placeholder, such as {tid}";
        let (before, rest) = text.split_once('{').ok_or(ONE)?;
        let (claim, after) = rest.split_once('}').ok_or(ONE)?;
        let [before, claim, after] = [before, claim, after].map(str::to_owned);
        if [&before, &claim, &after].into_iter().any(|part| part.contains(['{', '}'])) {
            Err(ONE)
        } else if before.is_empty() {
            Err("must not begin with the placeholder")
        } else if claim.is_empty() || claim == "iss" {
            Err("the placeholder must name the claim that holds the tenant")
        } else {
            Ok(Self { before, claim, after, tenants })
        }
    }

    /// The text before the tenant, and the text after.
    pub fn parts(&self) -> (&str, &str) {
        (&self.before, &self.after)
    }

    /// The accepted tenant that this issuer names.
    pub fn tenant<'i>(&self, iss: &'i str) -> Option<&'i str> {
        tenant_between(&self.before, iss, &self.after).filter(|tenant| self.tenants.contains(tenant))
    }
}

fn tenant_between<'i>(before: &str, iss: &'i str, after: &str) -> Option<&'i str> {
    iss.strip_prefix(before)?.strip_suffix(after).filter(|tenant| is_tenant(tenant))
}

impl Issuers {
    /// These values and these forms of `iss`; any issuer if there are none of both.
    pub fn new(exact: Vec<String>, templates: Vec<Template>) -> Self {
        Self { exact: sorted::texts(exact), templates }
    }

    /// The same with other texts: for each exact issuer, and for the texts before and after a tenant.
    pub fn rewritten(
        &self,
        exact: impl Fn(&str) -> String,
        before: impl Fn(&str) -> String,
        after: impl Fn(&str) -> String,
    ) -> Self {
        let rewrite = |template: &Template| Template {
            before: before(&template.before),
            after: after(&template.after),
            ..template.clone()
        };
        let exact = self.exact.iter().map(|issuer| exact(issuer)).collect();
        Self::new(exact, self.templates.iter().map(rewrite).collect())
    }

    /// The accepted values of `iss`.
    pub fn exact(&self) -> &[String] {
        &self.exact
    }

    /// The accepted forms of `iss`.
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// Whether tokens of any issuer are accepted.
    pub fn is_any(&self) -> bool {
        self.exact.is_empty() && self.templates.is_empty()
    }

    fn is_exact(&self, iss: &str) -> bool {
        sorted::contains(&self.exact, iss)
    }

    /// The templates that accept a token, each with the tenant: `iss` names the tenant, and so does the claim of the template.
    fn accepting<'i>(&'i self, jws: &'i Jws, iss: &'i str) -> impl Iterator<Item = (&'i Template, &'i str)> {
        self.templates.iter().filter_map(move |template| {
            let tenant = template.tenant(iss)?;
            let claim = select(&jws.payload, &[&template.claim]).ok()?.pop()??;
            (claim.as_str() == Some(tenant)).then_some((template, tenant))
        })
    }

    /// Checks the issuer of a token.
    ///
    /// # Errors
    /// [`TokenError::IssuerNotConfigured`].
    pub fn check(&self, jws: &Jws, claims: &Claims) -> Result<(), TokenError> {
        let is_accepted = |iss: &str| self.is_exact(iss) || self.accepting(jws, iss).next().is_some();
        if self.is_any() || claims.issuer().is_some_and(is_accepted) {
            Ok(())
        } else {
            Err(TokenError::IssuerNotConfigured)
        }
    }

    /// Whether a key that its issuer publishes for `key_issuer` may verify a token that [`Self::check`] accepts. `{tenantid}` in
    /// `key_issuer` stands for the tenant of the token. Besides the token's `iss`, the key may be published for another issuer of
    /// the provider and the same tenant: Entra's tokens of version 1 are signed by keys that are published for version 2.
    pub fn fits_key(&self, key_issuer: &str, jws: &Jws, claims: &Claims) -> bool {
        let Some(iss) = claims.issuer().filter(|iss| !iss.is_empty()) else { return false };
        let key_parts = key_issuer.split_once(KEY_TENANT);
        let is_for = |tenant: &str| {
            let is_filled = |before: &str, after: &str, text: &str| tenant_between(before, text, after) == Some(tenant);
            match key_parts {
                Some((before, after)) => {
                    let is_template = |template: &Template| template.parts() == (before, after);
                    is_filled(before, after, iss) || self.templates.iter().any(is_template)
                }
                None => {
                    let is_template = |template: &Template| is_filled(&template.before, &template.after, key_issuer);
                    key_issuer == iss || self.templates.iter().any(is_template)
                }
            }
        };
        let mut tenants = self.accepting(jws, iss).map(|(_, tenant)| tenant).peekable();
        if tenants.peek().is_some() {
            return tenants.any(is_for);
        }
        // The configuration names the issuer, and with the issuer the tenant.
        match key_parts {
            Some((before, after)) => tenant_between(before, iss, after).is_some(),
            None => key_issuer == iss,
        }
    }
}

#[cfg(test)]
mod tests;
