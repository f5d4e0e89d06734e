//! Evaluation as tables. A row is one line: a tree with the state of each token, and what must follow.
//!
//! [`notation`] explains how rows are written. [`any`], [`all`], [`each`] and [`nested`] evaluate trees; [`headers`] resolves
//! requirements for real headers first; [`properties`] compares random trees with a reference.

mod all;
mod any;
mod each;
mod headers;
mod nested;
mod notation;
mod properties;
mod reference;

#[test]
fn the_tables_have_at_least_80_rows() {
    let rows = any::ROWS + all::ROWS + each::ROWS + nested::ROWS;
    assert!(rows >= 80, "{rows}");
}
