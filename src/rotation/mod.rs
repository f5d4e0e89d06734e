//! How a key set is kept: when the JWKS is fetched, what a fetch changes, and the record that all workers share.
//!
//! [`update::Update`] is the whole of it: the bytes of a shared record and the time go in, the bytes to store and the effect
//! come out. The caller runs an update under compare-and-swap.
//!
//! * [`policy`]: what the configuration says. [`http_cache`]: what the issuer's headers state.
//! * [`schedule`]: lifetimes, the background refresh and the back-off, as functions of time.
//! * [`clock`]: the time that all workers share, which never goes back.
//! * [`record`]: the facts that workers share. [`lease`] and [`retired`]: two of those facts.
//! * [`transition`]: when a fetch may start ([`transition::refresh_due`]) and what its end changes. [`replace`]: which retired keys
//!   are kept when a JWKS takes the place of another. [`seed`]: keys of the configuration, for the time before the first JWKS.

pub mod clock;
pub mod http_cache;
pub mod lease;
pub mod policy;
pub mod record;
pub mod replace;
pub mod retired;
pub mod schedule;
pub mod seed;
pub mod transition;
pub mod update;
