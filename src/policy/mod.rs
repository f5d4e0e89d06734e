//! Which tokens does this request need, where are they, and what is the answer?
//!
//! * [`plan`] and [`provider`]: the checked configuration. [`endpoint`] and [`discovery`]: where keys come from.
//! * [`headers`] and [`query`]: views of a request. [`route`] and [`route_table`]: the rule that matches.
//! * [`token_location`]: the tokens of a request. [`requirement`]: whether they satisfy the rule.
//! * [`permit`]: proof that a request may go upstream. [`forward`]: what changes in that request. [`reply`]: the answer to a request
//!   that is denied.

mod candidates;
pub mod client;
pub mod discovery;
pub mod endpoint;
pub mod forward;
pub mod headers;
pub mod permit;
pub mod plan;
pub mod provider;
pub mod query;
pub mod reply;
pub mod requirement;
pub mod route;
pub mod route_table;
pub mod token_location;
