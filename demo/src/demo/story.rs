//! Prints the steps, and counts those with an unexpected result.

use std::env;
use std::io::{self, IsTerminal};

use jwks_gate_testbed::http::{Request, Response};

use crate::client::{exchange, jwks_gets};
use crate::expect::Expect;
use crate::Result;

pub(crate) struct Story {
    colours: bool,
    steps: u32,
    wrong: u32,
}

impl Story {
    pub(crate) fn new() -> Self {
        Self { colours: io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none(), steps: 0, wrong: 0 }
    }

    pub(crate) fn part(&self, title: &str) {
        println!("\n{}", self.paint("1", title));
    }

    /// Sends the requests, all at once if they differ, and prints the answers.
    pub(crate) fn step(
        &mut self,
        why: &str,
        sent: &str,
        requests: &[Request],
        expect: &Expect,
    ) -> Result<Vec<Response>> {
        let before = jwks_gets();
        let responses = exchange(requests)?;
        let after = jwks_gets();

        let objection = responses
            .iter()
            .find_map(|response| expect.objection(response))
            .or_else(|| expect.objection_to_gets(before, after));
        self.steps += 1;
        println!("\n{:2}  {why}", self.steps);
        println!("    sent  GET /api/orders, {sent}");
        show(expect, &responses);
        println!("    keys  {}", count_of_gets(before, after));
        match objection {
            None => println!("    {}", self.paint("32", "✓ as expected")),
            Some(objection) => {
                self.wrong += 1;
                println!("    {}", self.paint("31", &format!("✗ {objection}")));
            }
        }
        Ok(responses)
    }

    /// Prints the score. Returns whether every step had the expected result.
    pub(crate) fn end(&self) -> bool {
        let (steps, wrong) = (self.steps, self.wrong);
        let score = match wrong {
            0 => self.paint("32", &format!("All {steps} steps went as expected.")),
            _ => self.paint("31", &format!("{wrong} of {steps} steps did not go as expected.")),
        };
        println!("\n{score}");
        wrong == 0
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Prints the first unexpected answer, or the first answer.
fn show(expect: &Expect, responses: &[Response]) {
    let unexpected = responses.iter().find(|response| expect.objection(response).is_some());
    let Some(shown) = unexpected.or(responses.first()) else {
        return;
    };
    let alike = responses.iter().filter(|response| response.status == shown.status).count();
    let times = match responses.len() {
        1 => String::new(),
        all => format!("{alike} of {all} times "),
    };
    println!("    got   {times}{} {}", shown.status, excerpt(shown));
    for name in ["www-authenticate", "retry-after"] {
        if let Some(value) = shown.header(name) {
            println!("          {name}: {value}");
        }
    }
}

fn count_of_gets(before: Option<u64>, after: Option<u64>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => {
            format!("{after} JWKS GETs so far (+{})", after.saturating_sub(before))
        }
        _ => "the issuer is down and counts nothing".to_owned(),
    }
}

/// The first 240 characters of the body, on one line.
fn excerpt(response: &Response) -> String {
    let text = response.text();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(240) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
