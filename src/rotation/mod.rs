//! How a key set is kept: when it is fetched, what a fetch changes, and the record that all workers share.

pub mod http_cache;
pub mod lease;
pub mod record;
pub mod retired;
pub mod schedule;
pub mod transition;
