//! Points of the curve edwards25519, and tables of their multiples.
//!
//! The formulas are complete: no two points are an exception (Hisil, Wong, Carter and Dawson, "Twisted Edwards Curves
//! Revisited", §3).

use super::{field::Element, scalar::Digits};

/// The point with the coordinates `x = e / g` and `y = h / f`. A sum comes in this form; whatever uses the sum computes
/// only the coordinates that it needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    e: Element,
    f: Element,
    g: Element,
    h: Element,
}

/// The curve's constant `d`: -121665 / 121666.
const D: Element = Element::constant([
    0x1359_78a3,
    0x0f5a_6e50,
    0x1076_2add,
    0x0014_9a82,
    0x1e89_8007,
    0x003c_bbbc,
    0x19ce_331d,
    0x1dc5_6dff,
    0x0052_036c,
]);

const TWICE_D: Element = Element::constant([
    0x06b2_f159,
    0x1eb4_dca1,
    0x00ec_55ba,
    0x0029_3505,
    0x1d13_000e,
    0x0079_7779,
    0x139c_663a,
    0x1b8a_dbff,
    0x0024_06d9,
]);

/// The encoding of the base point.
const BASE: [u8; 32] = {
    let mut bytes = [0x66; 32];
    let [first, ..] = &mut bytes;
    *first = 0x58;
    bytes
};

impl Point {
    const NEUTRAL: Self = Self { e: Element::ZERO, f: Element::ONE, g: Element::ONE, h: Element::ONE };

    /// The base point `B` (RFC 8032 §5.1).
    pub(super) fn base() -> Option<Self> {
        Self::decode(&BASE)
    }

    /// Decodes a point (RFC 8032 §5.1.3). Returns `None` if there is no such point.
    ///
    /// Accepts what RFC 8032 rejects and other implementations accept: a `y` that is not less than 2^255 - 19, and a sign
    /// of an `x` that is 0.
    pub(super) fn decode(encoded: &[u8; 32]) -> Option<Self> {
        let y = Element::from_bytes(encoded);
        let square = y.square();
        let root = square.subtract(&Element::ONE).divided_root(&square.multiply(&D).add(&Element::ONE))?;
        let [.., last] = encoded;
        let x = if root.is_odd() == (last & 0x80 != 0) { root } else { root.negate() };
        Some(Self { e: x, f: Element::ONE, g: Element::ONE, h: y })
    }

    /// Encodes the point (RFC 8032 §5.1.2).
    pub(super) fn encode(&self) -> [u8; 32] {
        let (x, y) = self.affine(&self.f.multiply(&self.g).invert());
        let mut bytes = y.to_bytes();
        let [.., last] = &mut bytes;
        *last |= u8::from(x.is_odd()).wrapping_shl(7);
        bytes
    }

    /// The coordinates, given `1 / (f · g)`.
    #[inline(always)]
    fn affine(&self, inverse: &Element) -> (Element, Element) {
        (self.e.multiply(&self.f).multiply(inverse), self.h.multiply(&self.g).multiply(inverse))
    }

    pub(super) fn negate(&self) -> Self {
        Self { e: self.e.negate(), ..*self }
    }

    /// Whether eight times the point is the neutral element.
    pub(super) fn has_small_order(mut self) -> bool {
        for _ in 0..3 {
            self.double();
        }
        self.e.is_zero() && self.h.subtract(&self.f).is_zero()
    }

    fn double(&mut self) {
        let x = self.e.multiply(&self.f);
        let y = self.g.multiply(&self.h);
        let zz = self.f.multiply(&self.g).square();
        let (xx, yy) = (x.square(), y.square());
        self.h = xx.add(&yy);
        self.e = self.h.subtract(&x.add(&y).square());
        self.g = xx.subtract(&yy);
        self.f = self.g.add(&zz).add(&zz);
    }

    /// Adds `other`, or subtracts `other` if `is_negative`.
    fn add(&mut self, other: &Multiple, is_negative: bool) {
        let x = self.e.multiply(&self.f);
        let y = self.g.multiply(&self.h);
        let z = self.f.multiply(&self.g);
        let t = self.e.multiply(&self.h);
        // The negative of a point has the negative `x`.
        let (plus, minus) = if is_negative { (&other.minus, &other.plus) } else { (&other.plus, &other.minus) };
        let a = y.subtract(&x).multiply(minus);
        let b = y.add(&x).multiply(plus);
        let c = t.multiply(&other.product);
        let d = z.add(&z);
        self.e = b.subtract(&a);
        self.h = b.add(&a);
        let (less, more) = if is_negative { (&mut self.g, &mut self.f) } else { (&mut self.f, &mut self.g) };
        *less = d.subtract(&c);
        *more = d.add(&c);
    }
}

/// A point in a table: `y + x`, `y - x` and `2 · d · x · y`.
#[derive(Clone, Debug)]
struct Multiple {
    plus: Element,
    minus: Element,
    product: Element,
}

/// Converts points with one inversion: of the product of what must be inverted.
fn multiples(points: &[Point]) -> Vec<Multiple> {
    let mut product = Element::ONE;
    let mut denominators = Vec::with_capacity(points.len());
    for point in points {
        let denominator = point.f.multiply(&point.g);
        denominators.push((denominator, product));
        product = product.multiply(&denominator);
    }
    let mut inverse = product.invert();
    let mut multiples = Vec::with_capacity(points.len());
    for (point, (denominator, before)) in points.iter().zip(&denominators).rev() {
        let (x, y) = point.affine(&inverse.multiply(before));
        inverse = inverse.multiply(denominator);
        multiples.push(Multiple { plus: y.add(&x), minus: y.subtract(&x), product: x.multiply(&y).multiply(&TWICE_D) });
    }
    multiples.reverse();
    multiples
}

/// The multiples by 1, 3, … 15 of a point, of 2^32 times the point, and so on up to 2^224: 7 KiB. With them, one of eight
/// doublings remains.
#[derive(Clone, Debug)]
pub(super) struct Table(Vec<Multiple>);

impl Table {
    pub(super) fn new(mut point: Point) -> Self {
        let (mut single, mut twice) = (Vec::with_capacity(8), Vec::with_capacity(8));
        for _ in 0..8 {
            single.push(point);
            point.double();
            twice.push(point);
            for _ in 1..32 {
                point.double();
            }
        }
        let mut points = Vec::with_capacity(64);
        for (mut point, twice) in single.into_iter().zip(multiples(&twice)) {
            for _ in 0..8 {
                points.push(point);
                point.add(&twice, false);
            }
        }
        Self(multiples(&points))
    }
}

/// The sum of both points, each multiplied by the number with these digits.
pub(super) fn sum_of_multiples(terms: [(&Table, &Digits); 2]) -> Point {
    let mut sum = Point::NEUTRAL;
    for position in (0..32).rev() {
        sum.double();
        for (table, digits) in terms {
            for (multiples, digits) in table.0.chunks_exact(8).zip(digits) {
                let digit = digits.get(position).copied().unwrap_or_default();
                if digit == 0 {
                    continue;
                }
                // Digits are odd.
                if let Some(multiple) = multiples.get(usize::from(digit.unsigned_abs().wrapping_shr(1))) {
                    sum.add(multiple, digit < 0);
                }
            }
        }
    }
    sum
}
