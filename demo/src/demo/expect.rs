//! The expected result of a step.

use std::ops::RangeInclusive;

use jwks_gate_testbed::http::Response;

use crate::client::retry_after;

/// The expected answers, and the allowed number of JWKS GETs.
pub(crate) struct Expect {
    status: u16,
    text: &'static str,
    gets: Option<RangeInclusive<u64>>,
}

/// Expects answers with this status, and with this text in the body.
pub(crate) fn expect(status: u16, text: &'static str) -> Expect {
    Expect { status, text, gets: None }
}

pub(crate) fn passed() -> Expect {
    expect(200, "")
}

pub(crate) fn denied(text: &'static str) -> Expect {
    expect(401, text)
}

pub(crate) fn unknown_key() -> Expect {
    denied("Jwks doesn't have key to match kid or alg from Jwt")
}

impl Expect {
    /// Sets how many JWKS GETs the step may cost.
    pub(crate) fn gets(mut self, range: RangeInclusive<u64>) -> Self {
        self.gets = Some(range);
        self
    }

    /// How an answer differs from the expected answer.
    pub(crate) fn objection(&self, response: &Response) -> Option<String> {
        let challenge = response.header("www-authenticate").unwrap_or_default();
        if response.status != self.status {
            Some(format!("expected {}", self.status))
        } else if !response.text().contains(self.text) {
            Some(format!("expected {:?}", self.text))
        } else if self.status == 401 && !challenge.starts_with("Bearer realm=") {
            Some("expected a Bearer challenge".to_owned())
        } else if self.status == 503 && retry_after(response).is_none() {
            Some("expected Retry-After".to_owned())
        } else {
            None
        }
    }

    /// How the number of GETs differs from the expected range. `None` if a count is unknown.
    pub(crate) fn objection_to_gets(&self, before: Option<u64>, after: Option<u64>) -> Option<String> {
        let (range, before, after) = (self.gets.as_ref()?, before?, after?);
        let wrong = !range.contains(&after.saturating_sub(before));
        wrong.then(|| match (range.start(), range.end()) {
            (low, high) if low == high => format!("expected +{low} GET"),
            (_, high) => format!("expected +{high} GET at most"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        Response { status, headers, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn an_answer_must_have_status_text_and_headers() {
        let challenge = [("WWW-Authenticate", "Bearer realm=\"x\"")];
        assert_eq!(denied("expired").objection(&response(401, &challenge, "Jwt is expired")), None);
        for (expected, response, objection) in [
            (passed(), response(401, &challenge, ""), "expected 200"),
            (denied("expired"), response(401, &challenge, "missing"), "expected \"expired\""),
            (denied(""), response(401, &[], ""), "expected a Bearer challenge"),
            (expect(503, ""), response(503, &[], ""), "expected Retry-After"),
        ] {
            assert_eq!(expected.objection(&response).as_deref(), Some(objection));
        }
    }

    #[test]
    fn gets_are_counted_where_the_issuer_answers() {
        let objection = |range, before, after| passed().gets(range).objection_to_gets(before, after);
        assert_eq!(objection(0..=1, Some(3), Some(4)), None);
        assert_eq!(objection(0..=1, Some(3), Some(5)).as_deref(), Some("expected +1 GET at most"));
        assert_eq!(objection(1..=1, Some(3), Some(3)).as_deref(), Some("expected +1 GET"));
        assert_eq!(objection(1..=1, None, Some(3)), None);
    }
}
