//! Numbers modulo 2^255 - 19.
//!
//! A number is nine signed digits of 29 bits, lowest first. V8 compiles the product of two digits to one multiplication;
//! WebAssembly has no wider one.

use std::num::Wrapping;

/// A digit, or a sum of digit products.
type Digit = Wrapping<i64>;

const DIGIT_BITS: usize = 29;
const MASK: Digit = Wrapping(0x1fff_ffff);
/// Half of a digit's range.
const HALF: Digit = Wrapping(0x1000_0000);
/// 2^261, the weight of a tenth digit, modulo 2^255 - 19.
const FOLD: Digit = Wrapping(19 * 64);
/// Bits of the highest digit below 2^255.
const TOP_BITS: usize = 23;
const TOP_MASK: Digit = Wrapping(0x7f_ffff);

/// A number, not always the least one that is congruent.
///
/// Let u be 2^28 + 2^16. Products have digits from -u to u; decoded numbers and constants have digits from 0 to 2u; sums and
/// differences add their bounds, up to 7u. A product is right if the bounds of its factors multiply to at most 13 u^2: nine
/// products of digits, and what is folded in, stay below 2^63.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element([i32; 9]);

impl Element {
    pub(super) const ZERO: Self = Self([0; 9]);
    pub(super) const ONE: Self = Self([1, 0, 0, 0, 0, 0, 0, 0, 0]);

    /// The number with these digits, which are below 2^29.
    pub(super) const fn constant(digits: [i32; 9]) -> Self {
        Self(digits)
    }

    fn digits(&self) -> [Digit; 9] {
        self.0.map(|digit| Wrapping(i64::from(digit)))
    }

    fn from_digits(digits: [Digit; 9]) -> Self {
        Self(digits.map(|digit| digit.0 as i32))
    }

    /// Decodes 255 bits, lowest first (RFC 8032 §5.1.2). Ignores the last bit. Accepts numbers from 2^255 - 19 on.
    pub(super) fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut bytes = bytes.iter();
        let (mut bits, mut count) = (Wrapping(0_i64), 0_usize);
        let mut digits = [Wrapping(0); 9];
        for digit in &mut digits {
            while count < DIGIT_BITS {
                bits |= Wrapping(i64::from(bytes.next().copied().unwrap_or(0))) << count;
                count = count.wrapping_add(8);
            }
            *digit = bits & MASK;
            bits >>= DIGIT_BITS;
            count = count.wrapping_sub(DIGIT_BITS);
        }
        let [.., top] = &mut digits;
        *top &= TOP_MASK;
        Self::from_digits(digits)
    }

    /// Encodes the least number that is congruent, in 255 bits, lowest first. The last bit is 0.
    pub(super) fn to_bytes(self) -> [u8; 32] {
        // After one round the number is above -2^255 and below 2^256; after two, not negative and below 2^255.
        let mut least = wrapped(wrapped(self.digits()));
        let above = add_small(least, Wrapping(19));
        let [.., top] = above;
        if top >> TOP_BITS != Wrapping(0) {
            least = above;
        }
        let mut bytes = [0; 32];
        let mut digits = least.iter();
        let (mut bits, mut count) = (Wrapping(0_i64), 0_usize);
        for byte in &mut bytes {
            if count < 8 {
                bits |= digits.next().copied().unwrap_or_default() << count;
                count = count.wrapping_add(DIGIT_BITS);
            }
            *byte = bits.0 as u8;
            bits >>= 8;
            count = count.wrapping_sub(8);
        }
        let [.., last] = &mut bytes;
        *last &= 0x7f;
        bytes
    }

    pub(super) fn is_zero(self) -> bool {
        self.to_bytes() == [0; 32]
    }

    /// Whether the least number that is congruent is odd: "negative" in RFC 8032 §5.1.3.
    pub(super) fn is_odd(self) -> bool {
        let [first, ..] = self.to_bytes();
        first & 1 == 1
    }

    pub(super) fn add(mut self, other: &Self) -> Self {
        for (digit, other) in self.0.iter_mut().zip(&other.0) {
            *digit = digit.wrapping_add(*other);
        }
        self
    }

    pub(super) fn subtract(mut self, other: &Self) -> Self {
        for (digit, other) in self.0.iter_mut().zip(&other.0) {
            *digit = digit.wrapping_sub(*other);
        }
        self
    }

    pub(super) fn negate(self) -> Self {
        Self::ZERO.subtract(&self)
    }

    #[rustfmt::skip]
    pub(super) fn multiply(&self, other: &Self) -> Self {
        let [a0, a1, a2, a3, a4, a5, a6, a7, a8] = self.digits();
        let [b0, b1, b2, b3, b4, b5, b6, b7, b8] = other.digits();
        Self::from_digits(reduce(
            [
                a0 * b0,
                a0 * b1 + a1 * b0,
                a0 * b2 + a1 * b1 + a2 * b0,
                a0 * b3 + a1 * b2 + a2 * b1 + a3 * b0,
                a0 * b4 + a1 * b3 + a2 * b2 + a3 * b1 + a4 * b0,
                a0 * b5 + a1 * b4 + a2 * b3 + a3 * b2 + a4 * b1 + a5 * b0,
                a0 * b6 + a1 * b5 + a2 * b4 + a3 * b3 + a4 * b2 + a5 * b1 + a6 * b0,
                a0 * b7 + a1 * b6 + a2 * b5 + a3 * b4 + a4 * b3 + a5 * b2 + a6 * b1 + a7 * b0,
                a0 * b8 + a1 * b7 + a2 * b6 + a3 * b5 + a4 * b4 + a5 * b3 + a6 * b2 + a7 * b1 + a8 * b0,
            ],
            [
                a1 * b8 + a2 * b7 + a3 * b6 + a4 * b5 + a5 * b4 + a6 * b3 + a7 * b2 + a8 * b1,
                a2 * b8 + a3 * b7 + a4 * b6 + a5 * b5 + a6 * b4 + a7 * b3 + a8 * b2,
                a3 * b8 + a4 * b7 + a5 * b6 + a6 * b5 + a7 * b4 + a8 * b3,
                a4 * b8 + a5 * b7 + a6 * b6 + a7 * b5 + a8 * b4,
                a5 * b8 + a6 * b7 + a7 * b6 + a8 * b5,
                a6 * b8 + a7 * b7 + a8 * b6,
                a7 * b8 + a8 * b7,
                a8 * b8,
            ],
        ))
    }

    pub(super) fn square(&self) -> Self {
        self.square_times(1)
    }

    #[rustfmt::skip]
    fn square_times(&self, times: usize) -> Self {
        let mut digits = self.digits();
        for _ in 0..times {
            let [a0, a1, a2, a3, a4, a5, a6, a7, a8] = digits;
            let [d0, d1, d2, d3, d4, d5, d6, d7, _] = digits.map(|digit| digit + digit);
            digits = reduce(
                [
                    a0 * a0,
                    d0 * a1,
                    d0 * a2 + a1 * a1,
                    d0 * a3 + d1 * a2,
                    d0 * a4 + d1 * a3 + a2 * a2,
                    d0 * a5 + d1 * a4 + d2 * a3,
                    d0 * a6 + d1 * a5 + d2 * a4 + a3 * a3,
                    d0 * a7 + d1 * a6 + d2 * a5 + d3 * a4,
                    d0 * a8 + d1 * a7 + d2 * a6 + d3 * a5 + a4 * a4,
                ],
                [
                    d1 * a8 + d2 * a7 + d3 * a6 + d4 * a5,
                    d2 * a8 + d3 * a7 + d4 * a6 + a5 * a5,
                    d3 * a8 + d4 * a7 + d5 * a6,
                    d4 * a8 + d5 * a7 + a6 * a6,
                    d5 * a8 + d6 * a7,
                    d6 * a8 + a7 * a7,
                    d7 * a8,
                    a8 * a8,
                ],
            );
        }
        Self::from_digits(digits)
    }

    /// The powers with exponents 2^250 - 1 and 11.
    fn powers(&self) -> (Self, Self) {
        let two = self.square();
        let nine = two.square_times(2).multiply(self);
        let eleven = nine.multiply(&two);
        let ones_5 = eleven.square().multiply(&nine);
        let ones_10 = ones_5.square_times(5).multiply(&ones_5);
        let ones_20 = ones_10.square_times(10).multiply(&ones_10);
        let ones_40 = ones_20.square_times(20).multiply(&ones_20);
        let ones_50 = ones_40.square_times(10).multiply(&ones_10);
        let ones_100 = ones_50.square_times(50).multiply(&ones_50);
        let ones_200 = ones_100.square_times(100).multiply(&ones_100);
        (ones_200.square_times(50).multiply(&ones_50), eleven)
    }

    /// `1 / self`; 0 for 0. By Fermat: the exponent is 2^255 - 21.
    pub(super) fn invert(&self) -> Self {
        let (ones_250, eleven) = self.powers();
        ones_250.square_times(5).multiply(&eleven)
    }

    /// A square root of `self / divisor` (RFC 8032 §5.1.3). Returns `None` if there is none.
    pub(super) fn divided_root(&self, divisor: &Self) -> Option<Self> {
        let cube = divisor.square().multiply(divisor);
        let base = cube.square().multiply(divisor).multiply(self);
        // The exponent is (p - 5) / 8, or 2^252 - 3.
        let power = base.powers().0.square_times(2).multiply(&base);
        let root = power.multiply(&cube).multiply(self);
        let check = root.square().multiply(divisor);
        if check.subtract(self).is_zero() {
            return Some(root);
        }
        check.add(self).is_zero().then(|| root.multiply(&ROOT_OF_MINUS_ONE))
    }
}

const ROOT_OF_MINUS_ONE: Element = Element::constant([
    0x0a0e_a0b0,
    0x0770_d93a,
    0x0bf9_1e31,
    0x0630_0d5a,
    0x1d7a_72f4,
    0x004c_9efd,
    0x1c2c_ad34,
    0x1009_f83b,
    0x002b_8324,
]);

/// Digits of a product, out of 17 sums of digit products below 2^63.
#[inline(always)]
fn reduce(low: [Digit; 9], high: [Digit; 8]) -> [Digit; 9] {
    let [h0, h1, h2, h3, h4, h5, h6, h7] = high.map(|digit| digit & MASK);
    let [c0, c1, c2, c3, c4, c5, c6, c7] = high.map(|digit| digit >> DIGIT_BITS);
    let [mut d0, mut d1, mut d2, mut d3, mut d4, mut d5, mut d6, mut d7, mut d8] = low;
    d0 += h0 * FOLD;
    d1 += (h1 + c0) * FOLD;
    d2 += (h2 + c1) * FOLD;
    d3 += (h3 + c2) * FOLD;
    d4 += (h4 + c3) * FOLD;
    d5 += (h5 + c4) * FOLD;
    d6 += (h6 + c5) * FOLD;
    d7 += (h7 + c6) * FOLD;
    d8 += c7 * FOLD;
    // Two chains of carries, which a processor runs at the same time.
    carry(&mut d0, &mut d1);
    carry(&mut d4, &mut d5);
    carry(&mut d1, &mut d2);
    carry(&mut d5, &mut d6);
    carry(&mut d2, &mut d3);
    carry(&mut d6, &mut d7);
    carry(&mut d3, &mut d4);
    carry(&mut d7, &mut d8);
    carry(&mut d4, &mut d5);
    let mut tenth = Wrapping(0);
    carry(&mut d8, &mut tenth);
    d0 += tenth * FOLD;
    carry(&mut d0, &mut d1);
    [d0, d1, d2, d3, d4, d5, d6, d7, d8]
}

/// Moves what `digit` has beyond 29 signed bits to the next digit.
#[inline(always)]
fn carry(digit: &mut Digit, next: &mut Digit) {
    let above = (*digit + HALF) >> DIGIT_BITS;
    *digit -= above << DIGIT_BITS;
    *next += above;
}

/// Folds what is above 2^255 back in, and makes all digits but the highest non-negative and below 2^29.
fn wrapped(mut digits: [Digit; 9]) -> [Digit; 9] {
    let [.., top] = &mut digits;
    let above = *top >> TOP_BITS;
    *top &= TOP_MASK;
    add_small(digits, above * Wrapping(19))
}

/// Adds `carry`, and moves what is above 29 bits from each digit to the next.
fn add_small(mut digits: [Digit; 9], mut carry: Digit) -> [Digit; 9] {
    let [lower @ .., top] = &mut digits;
    for digit in lower {
        let sum = *digit + carry;
        *digit = sum & MASK;
        carry = sum >> DIGIT_BITS;
    }
    *top += carry;
    digits
}

#[cfg(test)]
mod tests {
    use num_bigint::{BigInt, BigUint};

    use super::*;

    const BOUND: i32 = (1 << 28) + (1 << 16);

    fn prime() -> BigInt {
        (BigInt::from(1) << 255) - 19
    }

    fn value(element: &Element) -> BigInt {
        element.0.iter().rev().fold(BigInt::from(0), |value, digit| (value << DIGIT_BITS) + *digit)
    }

    /// Whether both are congruent.
    fn assert_is(element: &Element, expected: &BigInt) {
        let least = ((expected % prime()) + prime()) % prime();
        assert_eq!((value(element) - &least) % prime(), BigInt::from(0), "{element:?} is not {expected}");
        let mut bytes = least.to_bytes_le().1;
        bytes.resize(32, 0);
        assert_eq!(element.to_bytes().to_vec(), bytes, "{element:?}");
        assert_eq!(element.is_zero(), least == BigInt::from(0));
        assert_eq!(element.is_odd(), least.bit(0));
    }

    fn assert_is_bounded(element: &Element) {
        assert!(element.0.iter().all(|digit| digit.abs() <= BOUND), "{element:?}");
    }

    /// Random and extreme numbers with digits of at most `times` times the bound of a product.
    fn samples(times: i32) -> Vec<Element> {
        let bound = BOUND * times;
        let mut rng = fastrand::Rng::with_seed(5);
        let mut samples = vec![Element::ZERO, Element::ONE, Element::ONE.negate(), Element([bound; 9])];
        samples.extend([Element([-bound; 9]), Element(std::array::from_fn(|at| [bound, -bound][at % 2]))]);
        samples.extend([0, 8].map(|place| Element(std::array::from_fn(|at| if at == place { -bound } else { 0 }))));
        samples.extend((0..20).map(|_| Element(std::array::from_fn(|_| rng.i32(-bound..=bound)))));
        for near in -40..40 {
            // Close to multiples of 2^255 - 19.
            let zero = Element::from_bytes(&prime().to_bytes_le().1.try_into().unwrap());
            samples.push(zero.add(&Element([near, 0, 0, 0, 0, 0, 0, 0, 0])));
            samples.push(zero.negate().add(&Element([near, 0, 0, 0, 0, 0, 0, 0, 0])));
        }
        samples
    }

    #[test]
    fn products_agree_with_another_implementation() {
        for (left, right) in [(3, 4), (2, 6), (1, 7)] {
            for a in samples(left) {
                for b in samples(right) {
                    let product = a.multiply(&b);
                    assert_is_bounded(&product);
                    assert_is(&product, &(value(&a) * value(&b)));
                }
            }
        }
        for a in samples(3) {
            assert_is_bounded(&a.square());
            assert_is(&a.square(), &value(&a).pow(2));
            assert_is(&a.square_times(5), &value(&a).pow(32));
        }
        samples(7).iter().for_each(|a| assert_is(a, &value(a)));
    }

    #[test]
    fn encodings_are_read_and_least() {
        let mut rng = fastrand::Rng::with_seed(6);
        let mut encodings: Vec<[u8; 32]> = (0..100).map(|_| std::array::from_fn(|_| rng.u8(..))).collect();
        for low in 0xe0..=0xff {
            for (middle, high) in [(0xff, 0x7f), (0xff, 0xff), (0, 0), (0, 0x80)] {
                encodings
                    .push(std::array::from_fn(|at| [low, middle, high][usize::from(at > 0) + usize::from(at > 30)]));
            }
        }
        for mut bytes in encodings {
            let element = Element::from_bytes(&bytes);
            bytes[31] &= 0x7f;
            let number = BigInt::from(BigUint::from_bytes_le(&bytes));
            assert_eq!(value(&element), number);
            assert_is(&element, &number);
        }
    }

    #[test]
    fn quotients_and_roots_are_right() {
        let mut roots = 0;
        for a in samples(1) {
            let inverse = a.invert();
            assert_eq!(a.multiply(&inverse).to_bytes(), if a.is_zero() { [0; 32] } else { Element::ONE.to_bytes() });
            for b in samples(1).into_iter().take(12).filter(|b| !b.is_zero()) {
                let quotient = a.multiply(&b.invert());
                let exponent = (prime() - 1_u8) / 2_u8;
                let is_square = value(&quotient).modpow(&exponent, &prime()) != prime() - 1_u8;
                let root = a.divided_root(&b);
                assert_eq!(root.is_some(), is_square);
                if let Some(root) = root {
                    assert_eq!(root.square().to_bytes(), quotient.to_bytes());
                    roots += 1;
                }
            }
        }
        assert!(roots > 500, "{roots}");
        assert_is(&ROOT_OF_MINUS_ONE.square(), &BigInt::from(-1));
    }
}
