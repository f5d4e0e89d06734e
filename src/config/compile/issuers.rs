//! `issuer`, `issuers`, `issuer_template` and `tenants`: whose tokens a provider accepts.

use super::value::check_items;
use crate::{
    config::{
        error::Result,
        path::Path,
        schema::{JwtProvider, Tenants},
    },
    token::issuers::{self, is_tenant, Issuers, Template, MAX_TENANT_BYTES},
};

/// The issuers of a provider: those that the three fields name together.
pub(super) fn issuers(path: &Path<'_>, wire: &JwtProvider) -> Result<Issuers> {
    let list = path.field("issuers");
    check_items(&list, &wire.issuers, |issuer| !issuer.is_empty(), "must not be empty")?;
    let mut exact: Vec<String> = Some(&wire.issuer).filter(|issuer| !issuer.is_empty()).cloned().into_iter().collect();
    exact.extend(wire.issuers.iter().cloned());
    let (template, tenants) = (path.field("issuer_template"), path.field("tenants"));
    let allowed = match &wire.tenants {
        _ if wire.issuer_template.0.is_empty() && wire.tenants.is_some() => {
            return Err(tenants.error("requires issuer_template"));
        }
        None if !wire.issuer_template.0.is_empty() => {
            return Err(tenants.error("required with issuer_template; a list of tenants, or any"));
        }
        None | Some(Tenants::Any) => issuers::Tenants::Any,
        Some(Tenants::Listed(listed)) if listed.is_empty() => return Err(tenants.error("must not be empty")),
        Some(Tenants::Listed(listed)) => {
            check_items(&tenants, listed, |tenant| tenant != "any", "any stands alone, not in a list")?;
            let form = format!("must be 1 to {MAX_TENANT_BYTES} letters, digits, -, ., _ or ~, and not of dots alone");
            check_items(&tenants, listed, is_tenant, &form)?;
            issuers::Tenants::listed(listed.clone())
        }
    };
    let mut templates = Vec::new();
    for (index, text) in wire.issuer_template.0.iter().enumerate() {
        let parsed = Template::parse(text, allowed.clone());
        templates.push(parsed.map_err(|reason| template.index(index).error(reason))?);
    }
    Ok(Issuers::new(exact, templates))
}

/// What is valid but a likely mistake.
pub(super) fn likely_mistakes(path: &Path<'_>, wire: &JwtProvider, warnings: &mut Vec<String>) {
    let exact = [("issuer", std::slice::from_ref(&wire.issuer)), ("issuers", wire.issuers.as_slice())];
    for (field, values) in exact {
        if values.iter().any(|issuer| issuer.contains('{')) {
            let reason = "a placeholder is not replaced here; use issuer_template";
            warnings.push(path.field(field).error(reason).to_string());
        }
    }
    if matches!(wire.tenants, Some(Tenants::Any)) && wire.audiences.is_empty() {
        let reason = "any, and no audiences: tokens of every tenant for every application are accepted";
        warnings.push(path.field("tenants").error(reason).to_string());
    }
}
