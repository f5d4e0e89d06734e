//! Four 32-bit lanes. With wasm SIMD the lanes are one register and [`Lanes::dot`] is one instruction; elsewhere they
//! are an array.

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd {
    use std::arch::wasm32 as arch;

    #[derive(Clone, Copy)]
    pub(in crate::rsa) struct Lanes(arch::v128);

    impl Lanes {
        pub(in crate::rsa) fn new([a, b, c, d]: [u32; 4]) -> Self {
            Self(arch::u32x4(a, b, c, d))
        }

        pub(in crate::rsa) fn splat(lane: u32) -> Self {
            Self(arch::u32x4_splat(lane))
        }

        pub(in crate::rsa) fn to_array(self) -> [u32; 4] {
            [
                arch::u32x4_extract_lane::<0>(self.0),
                arch::u32x4_extract_lane::<1>(self.0),
                arch::u32x4_extract_lane::<2>(self.0),
                arch::u32x4_extract_lane::<3>(self.0),
            ]
        }

        /// Adds lane by lane, modulo 2^32.
        pub(in crate::rsa) fn add(self, other: Self) -> Self {
            Self(arch::u32x4_add(self.0, other.0))
        }

        /// In each lane: the product of the lower 16-bit halves plus the product of the upper halves. Halves are below
        /// 2^15.
        pub(in crate::rsa) fn dot(self, other: Self) -> Self {
            Self(arch::i32x4_dot_i16x8(self.0, other.0))
        }

        /// The last two lanes of `self`, then the first two lanes of `next`.
        pub(in crate::rsa) fn bridge(self, next: Self) -> Self {
            Self(arch::i64x2_shuffle::<1, 2>(self.0, next.0))
        }
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod plain {
    #[derive(Clone, Copy)]
    pub(in crate::rsa) struct Lanes([u32; 4]);

    impl Lanes {
        pub(in crate::rsa) fn new(lanes: [u32; 4]) -> Self {
            Self(lanes)
        }

        pub(in crate::rsa) fn splat(lane: u32) -> Self {
            Self([lane; 4])
        }

        pub(in crate::rsa) fn to_array(self) -> [u32; 4] {
            self.0
        }

        /// Adds lane by lane, modulo 2^32.
        pub(in crate::rsa) fn add(self, other: Self) -> Self {
            self.zip(other, u32::wrapping_add)
        }

        /// In each lane: the product of the lower 16-bit halves plus the product of the upper halves. Halves are below
        /// 2^15.
        pub(in crate::rsa) fn dot(self, other: Self) -> Self {
            let (low, high) = (|lane: u32| lane & 0xffff, |lane: u32| lane.wrapping_shr(16));
            self.zip(other, |a, b| low(a).wrapping_mul(low(b)).wrapping_add(high(a).wrapping_mul(high(b))))
        }

        /// The last two lanes of `self`, then the first two lanes of `next`.
        pub(in crate::rsa) fn bridge(self, next: Self) -> Self {
            let ([_, _, a, b], [c, d, _, _]) = (self.0, next.0);
            Self([a, b, c, d])
        }

        fn zip(self, other: Self, with: impl Fn(u32, u32) -> u32) -> Self {
            let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
            Self([with(a, e), with(b, f), with(c, g), with(d, h)])
        }
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub(super) use plain::Lanes;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(super) use simd::Lanes;
