//! What changes in a request that is let through.

use super::extract::{Candidate, Source};

/// Changes to a request's headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Headers to remove, every value of them.
    pub remove: Vec<String>,
}

/// Changes for a request whose tokens were verified. Unless they are forwarded, the tokens stop here, as in `jwt_authn`.
pub fn edits(sources: &[Source], candidates: &[Candidate], forward: bool) -> Edits {
    if forward {
        return Edits::default();
    }
    let carried = |place: usize| candidates.iter().any(|candidate| candidate.source() == place);
    let carriers = sources.iter().enumerate().filter(|(place, _)| carried(*place));
    Edits { remove: carriers.map(|(_, source)| source.header.clone()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{extract::candidates, headers::Headers};

    #[test]
    fn tokens_stop_here_unless_forwarded_and_other_credentials_pass() {
        let sources = [Source::bearer(), Source { header: "x-jwt".into(), prefix: String::new() }];
        let list = [("authorization".to_owned(), b"Basic abc".to_vec()), ("x-jwt".to_owned(), b"token".to_vec())];
        let found = candidates(&sources, Headers::new(&list));
        assert_eq!(edits(&sources, &found, false).remove, ["x-jwt"]);
        assert_eq!(edits(&sources, &found, true), Edits::default());
    }
}
