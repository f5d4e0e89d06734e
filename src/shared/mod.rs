//! Forms that workers share: how values in shared data are written, and what several workers make of one value.

pub mod announcement;
pub mod codec;
pub mod manifest;
pub mod message;
pub mod names;
pub mod pairs;
pub mod registry;
pub mod seal;
pub mod worker_totals;
