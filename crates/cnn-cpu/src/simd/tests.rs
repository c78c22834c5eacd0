//! Every vector operation against plain arithmetic, on every instruction set of this CPU.

use super::{Isa, Kernel, Simd, V, Vector};
use crate::element::CpuElement;

/// Checks the operations on vectors of `T`; returns the lanes.
struct Check<T>(std::marker::PhantomData<T>);

impl<T: CpuElement> Kernel for Check<T> {
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
    for name in ["portable", "avx2", "avx512"] {
        let isa = Isa::capped(name).unwrap();
        let lanes = (isa.run(Check::<f32>(Default::default())), isa.run(Check::<f64>(Default::default())));
        assert_eq!((lanes.0, isa.lanes::<f64>()), (2 * lanes.1, lanes.1));
    }
}

#[test]
fn an_unknown_instruction_set_lists_the_choices() {
    let error = Isa::capped("neon").unwrap_err().to_string();
    assert_eq!(error, "CNN_ISA \"neon\": must be one of portable, avx2, avx512");
}
