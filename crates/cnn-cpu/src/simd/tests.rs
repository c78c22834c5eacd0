//! Every vector operation against plain arithmetic, on every instruction set of this CPU.

use half::bf16;

use super::{Isa, Simd, SimdKernel, Vector};
use crate::element::{CpuElement, CpuReal, V, lanes as lanes_of};
use crate::testing::isas;

/// Checks the operations on vectors of `T`; returns the lanes.
struct Check<T>(std::marker::PhantomData<T>);

impl<T: CpuReal> SimdKernel for Check<T> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        let lanes = V::<T, S>::LANES;
        let of = |f: &dyn Fn(usize) -> f64| (0..2 * lanes).map(|i| T::from_f64(f(i))).collect::<Vec<T>>();
        let (a, b) = (of(&|i| i as f64 - 3.0), of(&|i| 2.0 - (i * i % 7) as f64));
        let (x, y) = (V::<T, S>::read(simd, &a), V::<T, S>::read(simd, &b));
        let expect = |what: &str, v: V<T, S>, f: &dyn Fn(T, T) -> T| {
            let mut got = vec![T::nan(); lanes];
            v.write(&mut got);
            for i in 0..lanes {
                let expected = f(a[i], b[i]);
                assert!(
                    got[i] == expected || got[i].is_nan() && expected.is_nan(),
                    "{what}: {got:?}, {expected} at {i}"
                );
            }
        };
        let three = T::from_f64(3.0);
        expect("add", x.add(y), &|a, b| a + b);
        expect("sub", x.sub(y), &|a, b| a - b);
        expect("mul", x.mul(y), &|a, b| a * b);
        expect("div", x.div(y), &|a, b| a / b);
        expect("mul_add", x.mul_add(y, x), &|a, b| a * b + a);
        expect("neg_mul_add", x.neg_mul_add(y, x), &|a, b| a - a * b);
        expect("max", x.max(y), &|a, b| if b > a { b } else { a });
        expect("min", x.min(y), &|a, b| if b < a { b } else { a });
        expect("abs", x.abs(), &|a, _| a.abs());
        expect("sqrt", x.abs().sqrt(), &|a, _| a.abs().sqrt());
        expect("pow2", x.pow2(), &|a, _| a.exp2());
        let least = V::<T, S>::splat(simd, T::min_positive_value().log2());
        expect("pow2", least.pow2(), &|_, _| T::min_positive_value());
        expect("splat", V::<T, S>::splat(simd, three), &|_, _| three);
        expect("select", x.select_greater(y, y, V::<T, S>::zero(simd)), &|a, b| if a > b { b } else { T::zero() });
        let nan = V::<T, S>::splat(simd, T::nan());
        expect("NaN stays", nan.max(x), &|_, _| T::nan());
        expect("NaN stays", nan.min(x), &|_, _| T::nan());
        expect("NaN does not enter", x.max(nan), &|a, _| a);
        expect("NaN is not greater", nan.select_greater(x, nan, y), &|_, b| b);
        assert_eq!(x.reduce_sum(), a[..lanes].iter().copied().sum());
        assert_eq!(x.reduce_max(), a[lanes - 1]);
        for group in (0..).map(|power| 1 << power).take_while(|&group| group < lanes) {
            for i in 0..group {
                let mut got = vec![T::nan(); lanes];
                x.spread(group, i).write(&mut got);
                assert!((0..lanes).all(|l| got[l] == a[l / group * group + i]), "{i} of {group}: {got:?}");
            }
        }
        for n in 0..=lanes {
            let mut to = of(&|_| 9.0);
            V::<T, S>::read(simd, &a[..n]).write(&mut to[..lanes]);
            assert!((0..lanes).all(|i| to[i] == if i < n { a[i] } else { T::zero() }), "the first {n}: {to:?}");
            to.fill(three);
            x.write(&mut to[..n]);
            assert!((0..2 * lanes).all(|i| to[i] == if i < n { a[i] } else { three }), "the first {n}: {to:?}");
        }
        lanes
    }
}

#[test]
fn operations_of_every_instruction_set() {
    for isa in isas() {
        let lanes = (isa.run(Check::<f32>(Default::default())), isa.run(Check::<f64>(Default::default())));
        assert_eq!((lanes.0, lanes_of::<f64>(isa)), (2 * lanes.1, lanes.1));
    }
}

#[test]
fn an_unknown_instruction_set_lists_the_choices() {
    let error = Isa::capped("neon").unwrap_err().to_string();
    assert_eq!(error, "CNN_ISA \"neon\": must be one of portable, avx2, avx512, avx512bf16, amx");
}

/// The bits of f32 as bf16 and of bf16 as f32, both by way of slices of any length.
struct Halves<'a>(&'a [f32], &'a [bf16]);

impl SimdKernel for Halves<'_> {
    type Output = (Vec<u16>, Vec<u32>);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (Vec<u16>, Vec<u32>) {
        let (mut narrow, mut wide) = (vec![bf16::ZERO; self.0.len()], vec![0.0f32; self.1.len()]);
        for i in (0..narrow.len()).step_by(V::<bf16, S>::LANES) {
            bf16::write::<S>(f32::read(simd, &self.0[i..]), &mut narrow[i..]);
        }
        for i in (0..wide.len()).step_by(V::<bf16, S>::LANES) {
            f32::write::<S>(bf16::read(simd, &self.1[i..]), &mut wide[i..]);
        }
        (narrow.into_iter().map(bf16::to_bits).collect(), wide.into_iter().map(f32::to_bits).collect())
    }
}

/// What [`Halves`] returns, the same for every instruction set.
fn halves(wide: &[f32], narrow: &[bf16]) -> (Vec<u16>, Vec<u32>) {
    let mut all = isas().into_iter().map(|isa| isa.run(Halves(wide, narrow)));
    let first = all.next().expect("portable");
    for other in all {
        assert!(other == first, "instruction sets convert differently");
    }
    first
}

#[test]
fn every_bf16_comes_back_from_f32() {
    let all: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
    let (_, wide) = halves(&[], &all);
    assert!((0..).zip(&wide).all(|(bits, &wide)| wide == bits << 16), "the upper half of an f32");
    let (back, _) = halves(&wide.iter().map(|&bits| f32::from_bits(bits)).collect::<Vec<_>>(), &[]);
    for (bits, back) in (0..=u16::MAX).zip(back) {
        // A signalling NaN becomes quiet.
        let expected = if bf16::from_bits(bits).is_nan() { bits | 0x40 } else { bits };
        assert_eq!(back, expected, "{bits:#06x}");
    }
}

/// Numbers next to, at and between all neighbours of bf16, and what each is rounded to.
fn rounded() -> (Vec<f32>, Vec<u16>) {
    let (mut wide, mut expected) = (Vec::new(), Vec::new());
    for upper in (0..=u16::MAX).filter(|&upper| !bf16::from_bits(upper).is_nan()) {
        // The lower half of an f32, and whether it is rounded away from zero. Above an infinity are the NaN.
        let odd = upper & 1 == 1;
        let lower = [(0, false), (1, false), (0x7FFF, false), (0x8000, odd), (0x8001, true), (0xFFFF, true)];
        for (lower, away) in lower.into_iter().take(if bf16::from_bits(upper).is_finite() { 6 } else { 1 }) {
            wide.push(f32::from_bits(u32::from(upper) << 16 | lower));
            expected.push(upper + u16::from(away));
        }
    }
    // A NaN stays one, also where its upper half alone would be an infinity.
    for bits in [0x7F80_0001u32, 0xFF80_FFFF, 0x7FBF_FFFF, 0x7FFF_FFFF, 0xFFFF_8000] {
        wide.push(f32::from_bits(bits));
        expected.push((bits >> 16) as u16 | 0x40);
    }
    (wide, expected)
}

#[test]
fn rounding_to_bf16_is_to_nearest_and_to_even() {
    let (wide, expected) = rounded();
    for ((wide, narrow), expected) in wide.iter().zip(halves(&wide, &[]).0).zip(expected) {
        assert_eq!(narrow, expected, "{:#010x}", wide.to_bits());
    }
    assert_eq!(halves(&[f32::MAX, -f32::MAX, 1e-45, -0.0], &[]).0, [0x7F80, 0xFF80, 0x0000, 0x8000]);
}

#[test]
fn other_ways_to_round_are_told_apart() {
    let (wide, expected) = rounded();
    let upper = |x: f32| (x.to_bits() >> 16) as u16;
    let nearest = |x: f32| bf16::from_f32(x).to_bits();
    let planted: [(&str, &dyn Fn(f32) -> u16); 5] = [
        ("truncates", &upper),
        ("ties go away from zero", &|x| {
            if x.is_nan() { nearest(x) } else { upper(f32::from_bits(x.to_bits() + 0x8000)) }
        }),
        ("a NaN is rounded like a number", &|x| {
            upper(f32::from_bits(x.to_bits().wrapping_add(0x7FFF + (x.to_bits() >> 16 & 1))))
        }),
        ("subnormal numbers are zero", &|x| if x.is_subnormal() { upper(x) & 0x8000 } else { nearest(x) }),
        ("what is too large stays finite", &|x| {
            if x.is_finite() && bf16::from_f32(x).is_infinite() { upper(x) } else { nearest(x) }
        }),
    ];
    let right = |round: &dyn Fn(f32) -> u16| wide.iter().zip(&expected).all(|(&x, &expected)| round(x) == expected);
    assert!(right(&nearest));
    for (what, round) in planted {
        assert!(!right(round), "{what}: not noticed");
    }
}

#[test]
fn a_part_of_a_vector_of_bf16_is_written_alone() {
    for n in 0..40 {
        let wide: Vec<f32> = (0..n).map(|i| i as f32 + 1.0).collect();
        let all: Vec<bf16> = wide.iter().map(|&x| bf16::from_f32(x)).collect();
        let (narrow, back) = halves(&wide, &all);
        assert!(narrow.iter().zip(&all).all(|(&bits, x)| bits == x.to_bits()), "{n} numbers");
        assert!(back.iter().zip(&wide).all(|(&bits, x)| bits == x.to_bits()), "{n} numbers");
    }
}

/// Words of the first `2 L` numbers as bits, and the dot products of neighbours with themselves added to 1.
struct Words<'a>(&'a [f32]);

impl SimdKernel for Words<'_> {
    type Output = [Vec<u32>; 3];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [Vec<u32>; 3] {
        let lanes = V::<bf16, S>::LANES;
        let (a, b) = (f32::read(simd, self.0), f32::read(simd, &self.0[lanes..]));
        // SAFETY: the test runs this by `outline_dots` where the instruction set has them.
        let words = unsafe {
            let neighbours = bf16::concat::<S>(a, b);
            let dots = bf16::dot::<S>(neighbours, neighbours, V::<f32, S>::splat(simd, 1.0));
            [neighbours, bf16::zip::<S>(a, b), dots]
        };
        words.map(|vector| {
            let mut bits = vec![0.0; lanes];
            vector.write(&mut bits);
            bits.into_iter().map(f32::to_bits).collect()
        })
    }
}

/// Brings the instruction in, where there is one.
struct WithDots<K>(K);

impl<K: SimdKernel> SimdKernel for WithDots<K> {
    type Output = K::Output;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> K::Output {
        simd.outline_dots(self.0)
    }
}

#[test]
fn words_of_two_and_their_products() {
    let numbers: Vec<f32> = (0..32).map(|i| (i * i % 23) as f32 - 9.0).collect();
    let integer = |i: usize| f64::from(bf16::from_f32(numbers[i]));
    let word = |lower: usize, upper: usize| {
        u32::from(bf16::from_f32(numbers[upper]).to_bits()) << 16 | u32::from(bf16::from_f32(numbers[lower]).to_bits())
    };
    // Without the instruction AVX-512 is never chosen for pairs.
    for isa in isas().into_iter().filter(|isa| isa.to_string() != "avx512") {
        let lanes = lanes_of::<bf16>(isa);
        let [neighbours, zipped, dots] = isa.run(WithDots(Words(&numbers)));
        assert_eq!(neighbours, (0..lanes).map(|i| word(2 * i, 2 * i + 1)).collect::<Vec<_>>(), "{isa}");
        assert_eq!(zipped, (0..lanes).map(|i| word(i, lanes + i)).collect::<Vec<_>>(), "{isa}");
        let dot = |i: usize| (integer(2 * i).powi(2) + integer(2 * i + 1).powi(2) + 1.0) as f32;
        assert_eq!(dots, (0..lanes).map(|i| dot(i).to_bits()).collect::<Vec<_>>(), "{isa}");
    }
}
