//! Which tokens does this request need, where are they, and what is the answer?

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
