//! Numbers modulo the order of the base point: L = 2^252 + 27742317777372353535851937790883648493.

use std::num::Wrapping;

/// The order L, lowest byte first.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// L - 2^252 in digits of 28 bits, lowest first.
const ORDER_REST: [Wrapping<i64>; 9] = [
    Wrapping(0x0cf5_d3ed),
    Wrapping(0x0126_31a5),
    Wrapping(0x079c_d658),
    Wrapping(0x0f9d_ea2f),
    Wrapping(0x14de),
    Wrapping(0),
    Wrapping(0),
    Wrapping(0),
    Wrapping(0),
];
const DIGIT_BITS: usize = 28;
const MASK: Wrapping<i64> = Wrapping(0x0fff_ffff);

/// A number below L, lowest byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scalar([u8; 32]);

/// Digits of a number in base 2, lowest first, 32 to a row. Digits are 0 or odd and from -15 to 15; of five neighbours, at
/// most one is not 0.
pub(super) type Digits = [[i8; 32]; 8];

impl Scalar {
    /// Decodes a number (RFC 8032 §5.1.7). Returns `None` for L and above.
    pub(super) fn decode(bytes: &[u8; 32]) -> Option<Self> {
        bytes.iter().rev().lt(ORDER.iter().rev()).then_some(Self(*bytes))
    }

    /// The number in 64 bytes, lowest first, modulo L.
    pub(super) fn reduce(bytes: &[u8; 64]) -> Self {
        // Between -2^153 and L.
        let mut rest = [Wrapping(0_i64); 9];
        let mut top = Wrapping(0_i64);
        for bytes in bytes.chunks(7).rev() {
            let number = bytes.iter().rev().fold(0, |number: i64, byte| number.wrapping_shl(8) | i64::from(*byte));
            for digit in [Wrapping(number) >> DIGIT_BITS, Wrapping(number) & MASK] {
                // `top` is what is above 2^252; L times `top` goes away.
                let [.., highest] = rest;
                let times = (top << DIGIT_BITS) + highest;
                rest.rotate_right(1);
                let [lowest, ..] = &mut rest;
                *lowest = digit;
                top = subtract(&mut rest, times);
            }
        }
        // Makes a negative number positive: 2^252, and the rest of L.
        if top < Wrapping(0) {
            top += Wrapping(1) + subtract(&mut rest, Wrapping(-1));
        }
        let mut bytes = [0; 32];
        for (bytes, digits) in bytes.chunks_mut(7).zip(rest.into_iter().chain([top]).collect::<Vec<_>>().chunks(2)) {
            let number = digits.iter().rev().fold(Wrapping(0_i64), |number, digit| (number << DIGIT_BITS) + digit);
            for (byte, value) in bytes.iter_mut().zip(number.0.to_le_bytes()) {
                *byte = value;
            }
        }
        Self(bytes)
    }

    pub(super) fn digits(&self) -> Digits {
        let mut digits = [[0; 32]; 8];
        let (mut carry, mut next) = (0, 0_usize);
        for (position, digit) in digits.as_flattened_mut().iter_mut().enumerate() {
            if position < next {
                continue;
            }
            let window = self.five_bits(position).wrapping_add(carry);
            if window & 1 == 1 {
                // From 16 on, the digit is negative, and the digits above are one more.
                carry = window.wrapping_shr(4);
                *digit = window.wrapping_sub(carry.wrapping_shl(5)) as i8;
                next = position.wrapping_add(5);
            }
        }
        digits
    }

    /// The bits from `position` on.
    fn five_bits(&self, position: usize) -> u16 {
        let mut bytes = self.0.iter().skip(position.wrapping_shr(3)).copied().map(u16::from);
        let two = bytes.next().unwrap_or(0) | bytes.next().unwrap_or(0).wrapping_shl(8);
        two.wrapping_shr((position & 7) as u32) & 0x1f
    }
}

/// Subtracts `times` times the rest of L, and returns what is to be added above the digits.
fn subtract(digits: &mut [Wrapping<i64>; 9], times: Wrapping<i64>) -> Wrapping<i64> {
    let mut carry = Wrapping(0);
    for (digit, rest) in digits.iter_mut().zip(ORDER_REST) {
        let sum = *digit - times * rest + carry;
        *digit = sum & MASK;
        carry = sum >> DIGIT_BITS;
    }
    carry
}

#[cfg(test)]
mod tests {
    use num_bigint::{BigInt, BigUint};

    use super::*;

    fn order() -> BigUint {
        (BigUint::from(1_u8) << 252) + 27_742_317_777_372_353_535_851_937_790_883_648_493_u128
    }

    #[test]
    fn remainders_agree_with_another_implementation() {
        assert_eq!(BigUint::from_bytes_le(&ORDER), order());
        let mut rng = fastrand::Rng::with_seed(7);
        let mut numbers: Vec<[u8; 64]> = (0..2000).map(|_| std::array::from_fn(|_| rng.u8(..))).collect();
        numbers.extend([[0; 64], [0xff; 64]]);
        for shift in 0..=259_u32 {
            // Multiples of L and their neighbours.
            let multiple = order() << shift;
            for number in [&multiple - 1_u8, multiple.clone(), &multiple + 1_u8, BigUint::from(1_u8) << (shift + 252)] {
                let mut bytes = number.to_bytes_le();
                bytes.resize(64, 0);
                numbers.push(bytes.try_into().unwrap());
            }
        }
        for number in numbers {
            let expected = BigUint::from_bytes_le(&number) % order();
            assert_eq!(BigUint::from_bytes_le(&Scalar::reduce(&number).0), expected, "{number:x?}");
        }
    }

    #[test]
    fn only_remainders_are_decoded() {
        let is_decoded = |number: BigUint| {
            let mut bytes = number.to_bytes_le();
            bytes.resize(32, 0);
            Scalar::decode(&bytes.try_into().unwrap()).is_some()
        };
        assert!(is_decoded(BigUint::ZERO) && is_decoded(order() - 1_u8) && is_decoded(BigUint::from(1_u8) << 252));
        assert!(!is_decoded(order()) && !is_decoded(order() + 1_u8) && !is_decoded(order() * 15_u8));
        assert!(!is_decoded((BigUint::from(1_u8) << 256) - 1_u8));
    }

    #[test]
    fn digits_are_sparse_and_add_up() {
        let mut rng = fastrand::Rng::with_seed(8);
        let mut numbers: Vec<[u8; 64]> = (0..500).map(|_| std::array::from_fn(|_| rng.u8(..))).collect();
        numbers.push([0; 64]);
        let mut scalars: Vec<Scalar> = numbers.iter().map(Scalar::reduce).collect();
        let mut ones = [0xff; 32];
        ones[31] = 0x0f;
        let mut largest = ORDER;
        largest[0] -= 1;
        scalars.extend([ones, largest].map(|bytes| Scalar::decode(&bytes).unwrap()));
        for scalar in scalars {
            let digits = scalar.digits();
            let digits = digits.as_flattened();
            let sum = digits.iter().rev().fold(BigInt::from(0), |sum, digit| sum * 2 + *digit);
            assert_eq!(sum, BigInt::from(BigUint::from_bytes_le(&scalar.0)));
            assert!(digits.iter().all(|digit| *digit == 0 || digit % 2 != 0 && (-15..=15).contains(digit)));
            assert!(digits.windows(5).all(|digits| digits.iter().filter(|digit| **digit != 0).count() <= 1));
        }
    }
}
