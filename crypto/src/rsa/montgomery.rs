//! Modular powers by Montgomery multiplication. Only public values enter, so nothing runs in constant time.
//!
//! A number is a sequence of 12-bit digits, eight to a block, lowest first. A SIMD dot product adds two products of
//! such digits at once, and a 32-bit column holds the sum of 240 products before a carry must move on: multiplying two
//! 2048-bit numbers takes a single carry pass.

use super::lanes::Lanes;

/// Eight digits, or eight columns of sums of digit products; lowest first.
type Block = [u32; 8];

const DIGIT_BITS: u32 = 12;
const DIGIT: u32 = 0xfff;
const BLOCK_BITS: usize = 96;
/// Each row adds eight digit products to a column: 31 · 8 · 4095^2 + 2^21 < 2^32.
const ROWS_BETWEEN_CARRIES: usize = 30;

/// An odd modulus with the values that every power needs.
#[derive(Clone)]
pub(super) struct Modulus {
    digits: Vec<Block>,
    pairs: Vec<Block>,
    /// `-1 / modulus` modulo 2^96, the size of a block.
    inverse: u128,
    /// `R^2 mod modulus` in pairs, where `R` is 2^96 to the number of blocks. Multiplying by `R^2` converts a number
    /// into Montgomery form.
    r_squared: Vec<Block>,
    /// Bytes of the modulus.
    length: usize,
}

impl Modulus {
    /// Prepares an odd modulus of `bits` bits. `modulus` is big-endian and has no leading zero.
    pub(super) fn new(modulus: &[u8], bits: usize) -> Option<Self> {
        // With two spare bits, intermediate results may stay between the modulus and twice the modulus.
        let count = bits.checked_add(2)?.div_ceil(BLOCK_BITS);
        let digits = digits_of(modulus, count);
        let inverse = inverse_of(number(digits.first()?)).wrapping_neg();
        let pairs = pairs_of(&digits);
        let mut prepared = Self { digits, pairs, inverse, r_squared: Vec::new(), length: modulus.len() };
        prepared.r_squared = pairs_of(&prepared.r_squared(bits, count)?);
        Some(prepared)
    }

    /// `base ^ exponent`, big-endian and as long as the modulus. `base` must be below the modulus, `exponent` odd and
    /// above 1.
    pub(super) fn power(&self, base: &[u8], exponent: u32) -> Vec<u8> {
        let count = self.digits.len();
        let base = digits_of(base, count);
        let mut scratch = Scratch::new(count);
        let mut power = base.clone();
        self.multiply(&mut power, &self.r_squared, &mut scratch);
        let form = pairs_of(&power);
        let top = 31_u32.wrapping_sub(exponent.leading_zeros());
        for bit in (1..top).rev() {
            self.square(&mut power, &mut scratch);
            if exponent.wrapping_shr(bit) & 1 == 1 {
                self.multiply(&mut power, &form, &mut scratch);
            }
        }
        self.square(&mut power, &mut scratch);
        // The exponent is odd: multiplying by the plain base last also leaves Montgomery form.
        self.multiply(&mut power, &pairs_of(&base), &mut scratch);
        subtract_unless_less(&mut power, &self.digits);
        bytes_of(&power, self.length)
    }

    /// `R^2 mod modulus`. Doubling leads from the highest power of two below the modulus to `2^(3 · count) · R`;
    /// squaring leads from there to `2^(96 · count) · R`, which is `R^2`.
    fn r_squared(&self, bits: usize, count: usize) -> Option<Vec<Block>> {
        let top = bits.checked_sub(1)?;
        let mut power: Vec<Block> = vec![[0; 8]; count];
        let (digit, bit) = (top.checked_div(12)?, top.checked_rem(12)?);
        *power.as_flattened_mut().get_mut(digit)? = 1_u32.checked_shl(u32::try_from(bit).ok()?)?;
        let r_bits = count.checked_mul(BLOCK_BITS)?;
        let doublings = r_bits.checked_sub(top)?.checked_add(count.checked_mul(3)?)?;
        for _ in 0..doublings {
            let mut carry = 0;
            for digit in power.as_flattened_mut() {
                let twice = digit.wrapping_shl(1) | carry;
                *digit = twice & DIGIT;
                carry = twice.wrapping_shr(DIGIT_BITS);
            }
            subtract_unless_less(&mut power, &self.digits);
        }
        let mut scratch = Scratch::new(count);
        for _ in 0..5 {
            self.square(&mut power, &mut scratch);
        }
        Some(power)
    }

    /// `a = a · b / R`, with `b` in pairs. The result is below twice the modulus if `a` and `b` are.
    fn multiply(&self, a: &mut [Block], b: &[Block], scratch: &mut Scratch) {
        scratch.columns.fill([0; 8]);
        let mut columns = scratch.columns.as_mut_slice();
        let mut rows = 0_usize;
        for digits in &*a {
            add_row(columns, b, digits);
            rows = rows.wrapping_add(1);
            if rows.is_multiple_of(ROWS_BETWEEN_CARRIES) {
                carry(columns);
            }
            let Some((_, rest)) = columns.split_first_mut() else { return };
            columns = rest;
        }
        self.reduce(&mut scratch.columns, a);
    }

    /// `a = a^2 / R`. The result is below twice the modulus if `a` is. Each product of two different blocks is computed
    /// once and counted twice.
    fn square(&self, a: &mut [Block], scratch: &mut Scratch) {
        scratch.columns.fill([0; 8]);
        scratch.pairs.fill([0; 8]);
        let mut rows = 0_usize;
        // From the top down: the row of a block contains all blocks above it doubled, and no block below it.
        for (index, digits) in a.iter().enumerate().rev() {
            let Some(pairs) = scratch.pairs.get_mut(index..) else { return };
            let Some(columns) = scratch.columns.get_mut(index.wrapping_mul(2)..) else { return };
            let (block, above) = pair(digits, 0);
            add_to_block(pairs, block, above);
            add_row(columns, pairs, digits);
            add_to_block(pairs, block, above);
            rows = rows.wrapping_add(2);
            if rows.is_multiple_of(ROWS_BETWEEN_CARRIES) {
                carry(columns);
            }
        }
        self.reduce(&mut scratch.columns, a);
    }

    /// `out = columns / R`. The result is below twice the modulus if `columns` is below four times the modulus squared.
    fn reduce(&self, columns: &mut [Block], out: &mut [Block]) {
        carry(columns);
        let mut window = columns;
        let (mut above, mut rows) = (0_u32, 0_usize);
        for _ in 0..self.digits.len() {
            let Some([lowest, ..]) = window.first_mut() else { return };
            *lowest = lowest.wrapping_add(above);
            let Some(low) = window.first().map(number) else { return };
            // Adding the modulus this many times makes the lowest block zero.
            let times = digits(low.wrapping_mul(self.inverse));
            add_row(window, &self.pairs, &times);
            let Some((low, rest)) = window.split_first_mut() else { return };
            above = low.iter().fold(0, |above, column| column.wrapping_add(above).wrapping_shr(DIGIT_BITS));
            window = rest;
            rows = rows.wrapping_add(1);
            if rows.is_multiple_of(ROWS_BETWEEN_CARRIES) {
                carry(window);
            }
        }
        for (digit, column) in out.as_flattened_mut().iter_mut().zip(window.as_flattened()) {
            let sum = column.wrapping_add(above);
            *digit = sum & DIGIT;
            above = sum.wrapping_shr(DIGIT_BITS);
        }
    }
}

/// Buffers that multiplications reuse.
struct Scratch {
    /// Twice the blocks of a number, and one more for the overflow of the last row.
    columns: Vec<Block>,
    pairs: Vec<Block>,
}

impl Scratch {
    fn new(count: usize) -> Self {
        let columns = vec![[0; 8]; count.saturating_mul(2).saturating_add(1)];
        Self { columns, pairs: vec![[0; 8]; count.saturating_add(1)] }
    }
}

/// Adds the product of `digits` and the number in `pairs` to `columns`.
#[inline(always)]
fn add_row(columns: &mut [Block], pairs: &[Block], digits: &Block) {
    let [a, b, c, d, e, f, g, h] = *digits;
    let two = |low: u32, high: u32| Lanes::splat(low | high.wrapping_shl(16));
    let (ab, cd, ef, gh) = (two(a, b), two(c, d), two(e, f), two(g, h));
    let (mut last, mut before_last) = (Lanes::splat(0), Lanes::splat(0));
    for (columns, pairs) in columns.iter_mut().zip(pairs) {
        let ([low, high], [sums_low, sums_high]) = (halves(pairs), halves(columns));
        let (to_low, to_high) = (last.bridge(low), low.bridge(high));
        let sums_low = sums_low.add(last.dot(ef)).add(before_last.dot(gh)).add(low.dot(ab)).add(to_low.dot(cd));
        let sums_high = sums_high.add(low.dot(ef)).add(to_low.dot(gh)).add(high.dot(ab)).add(to_high.dot(cd));
        *columns = joined(sums_low, sums_high);
        (last, before_last) = (high, to_high);
    }
}

/// Moves the bits of each column above a digit into the next column, once. Columns are below 2^12 + 2^20 afterwards.
fn carry(columns: &mut [Block]) {
    let mut above = 0;
    for columns in columns {
        let high = columns.map(|column| column.wrapping_shr(DIGIT_BITS));
        let [a, b, c, d, e, f, g, h] = high;
        for (column, from_below) in columns.iter_mut().zip([above, a, b, c, d, e, f, g]) {
            *column = (*column & DIGIT).wrapping_add(from_below);
        }
        above = h;
    }
}

/// Pairs each digit (lower half) with the digit below it (upper half). The second value is the pair for the next block,
/// with the last digit as its upper half.
fn pair(&[a, b, c, d, e, f, g, h]: &Block, below: u32) -> (Block, u32) {
    let two = |low: u32, high: u32| low | high.wrapping_shl(16);
    let pairs = [two(a, below), two(b, a), two(c, b), two(d, c), two(e, d), two(f, e), two(g, f), two(h, g)];
    (pairs, two(0, h))
}

/// The number in pairs, with one more block for the pair above the last digit.
fn pairs_of(digits: &[Block]) -> Vec<Block> {
    let mut pairs = vec![[0; 8]; digits.len().saturating_add(1)];
    for (index, digits) in digits.iter().enumerate() {
        let (block, above) = pair(digits, 0);
        if let Some(pairs) = pairs.get_mut(index..) {
            add_to_block(pairs, block, above);
        }
    }
    pairs
}

/// Adds `block` to the first block, and `above` to the lowest element of the second.
fn add_to_block(blocks: &mut [Block], block: Block, above: u32) {
    if let [first, [next, ..], ..] = blocks {
        for (pair, addend) in first.iter_mut().zip(block) {
            *pair = pair.wrapping_add(addend);
        }
        *next = next.wrapping_add(above);
    }
}

fn halves(&[a, b, c, d, e, f, g, h]: &Block) -> [Lanes; 2] {
    [Lanes::new([a, b, c, d]), Lanes::new([e, f, g, h])]
}

fn joined(low: Lanes, high: Lanes) -> Block {
    let ([a, b, c, d], [e, f, g, h]) = (low.to_array(), high.to_array());
    [a, b, c, d, e, f, g, h]
}

/// The value of a block of columns, modulo 2^128.
fn number(columns: &Block) -> u128 {
    columns.iter().rev().fold(0, |number, column| number.wrapping_shl(DIGIT_BITS).wrapping_add(u128::from(*column)))
}

/// The lowest 96 bits of `number` as digits.
fn digits(number: u128) -> Block {
    [0, 12, 24, 36, 48, 60, 72, 84].map(|bits| number.wrapping_shr(bits) as u32 & DIGIT)
}

/// `1 / odd` modulo 2^128 by Newton's iteration: each step doubles the number of correct bits.
fn inverse_of(odd: u128) -> u128 {
    (0..7).fold(1, |inverse: u128, _| inverse.wrapping_mul(2_u128.wrapping_sub(odd.wrapping_mul(inverse))))
}

fn subtract_unless_less(a: &mut [Block], b: &[Block]) {
    let (a, b) = (a.as_flattened_mut(), b.as_flattened());
    if a.iter().rev().lt(b.iter().rev()) {
        return;
    }
    let mut borrow = 0;
    for (a, b) in a.iter_mut().zip(b) {
        let difference = a.wrapping_sub(*b).wrapping_sub(borrow);
        borrow = difference.wrapping_shr(31);
        *a = difference & DIGIT;
    }
}

/// Converts big-endian bytes into `count` blocks of digits.
fn digits_of(bytes: &[u8], count: usize) -> Vec<Block> {
    let mut blocks = vec![[0; 8]; count];
    for (block, bytes) in blocks.iter_mut().zip(bytes.rchunks(BLOCK_BITS / 8)) {
        *block = digits(bytes.iter().fold(0, |number, byte| number.wrapping_shl(8) | u128::from(*byte)));
    }
    blocks
}

/// Converts digits into `length` big-endian bytes.
fn bytes_of(digits: &[Block], length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    for (bytes, digits) in bytes.rchunks_mut(BLOCK_BITS / 8).zip(digits) {
        let number = number(digits).to_be_bytes();
        for (target, source) in bytes.iter_mut().rev().zip(number.iter().rev()) {
            *target = *source;
        }
    }
    bytes
}
