//! What the instruction sets of x86 have in common: their vectors are one macro over the names of instructions.

/// A call of instructions without memory operands, from a place that has the token of their instruction set or a vector of
/// it: no other reason makes them unsafe.
macro_rules! owned {
    ($call:expr) => {{
        // SAFETY: tokens come from a detection of the instructions alone, and vectors from a token.
        unsafe { $call }
    }};
}

/// Hints and order, which every x86-64 CPU has: items of an `impl Simd`.
macro_rules! x86_memory {
    () => {
        #[inline(always)]
        fn prefetch<T>(self, at: *const T) {
            // SAFETY: a prefetch changes nothing and cannot fault; every x86-64 CPU has the instruction.
            unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast()) }
        }

        #[inline(always)]
        fn prefetch_far<T>(self, at: *const T) {
            // SAFETY: as in `prefetch`.
            unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at.cast()) }
        }

        #[inline(always)]
        fn fence(self) {
            // SAFETY: every x86-64 CPU has the instruction.
            unsafe { std::arch::x86_64::_mm_sfence() }
        }
    };
}

/// `Vector<$e>` for `$v`, a register of `$n` numbers, by these instructions.
///
/// What differs between instruction sets is an expression in braces: `load_head` and `store_head` must not touch memory at
/// or past number `n`, for `n` up to the lanes; `abs`, and `select_greater` by an ordered comparison.
macro_rules! x86_vector {
    (
        $v:ident: [$e:ty; $n:literal] of $simd:ident;
        load: $load:ident; store: $store:ident; stream: $stream:ident; splat: $splat:ident;
        add: $add:ident; sub: $sub:ident; mul: $mul:ident; div: $div:ident; sqrt: $sqrt:ident;
        mul_add: $fmadd:ident; neg_mul_add: $fnmadd:ident; max: $max:ident; min: $min:ident;
        to_bits: $bits:ident; shift_left: $shift:ident::<$count:ty>; from_bits: $number:ident;
        load_head: |$from:ident, $loaded:ident| { $load_head:expr };
        store_head: |$to:ident, $value:ident, $stored:ident| { $store_head:expr };
        abs: |$signed:ident| { $abs:expr };
        select_greater: |$a:ident, $b:ident, $yes:ident, $no:ident| { $select:expr };
        spread: |$spread:ident, $group:ident, $at:ident| { $spreading:expr };
    ) => {
        impl Vector<$e> for $v {
            type Simd = $simd;
            const LANES: usize = $n;

            #[inline(always)]
            fn splat(_: $simd, value: $e) -> Self {
                $v(owned!($splat(value)))
            }
            #[inline(always)]
            unsafe fn load(_: $simd, from: *const $e) -> Self {
                // SAFETY: there is a token; the pointer is the caller's promise.
                $v(unsafe { $load(from) })
            }
            #[inline(always)]
            unsafe fn load_head(_: $simd, $from: *const $e, $loaded: usize) -> Self {
                // SAFETY: there is a token; lanes at or past n are not accessed.
                $v(unsafe { $load_head })
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $e) {
                // SAFETY: there is a vector; the pointer is the caller's promise.
                unsafe { $store(to, self.0) }
            }
            #[inline(always)]
            unsafe fn stream(self, to: *mut $e) {
                // SAFETY: there is a vector; the pointer and its alignment are the caller's promise.
                unsafe { $stream(to, self.0) }
            }
            #[inline(always)]
            unsafe fn store_head(self, $to: *mut $e, $stored: usize) {
                let $value = self.0;
                // SAFETY: there is a vector; lanes at or past n are not accessed.
                unsafe { $store_head }
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                $v(owned!($add(self.0, other.0)))
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                $v(owned!($sub(self.0, other.0)))
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                $v(owned!($mul(self.0, other.0)))
            }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                $v(owned!($div(self.0, other.0)))
            }
            #[inline(always)]
            fn mul_add(self, factor: Self, term: Self) -> Self {
                $v(owned!($fmadd(self.0, factor.0, term.0)))
            }
            #[inline(always)]
            fn neg_mul_add(self, factor: Self, term: Self) -> Self {
                $v(owned!($fnmadd(self.0, factor.0, term.0)))
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                // The instruction returns its second operand unless the first is greater.
                $v(owned!($max(other.0, self.0)))
            }
            #[inline(always)]
            fn min(self, other: Self) -> Self {
                // The instruction returns its second operand unless the first is less.
                $v(owned!($min(other.0, self.0)))
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $v(owned!($sqrt(self.0)))
            }
            #[inline(always)]
            fn abs(self) -> Self {
                let $signed = self.0;
                $v(owned!($abs))
            }
            #[inline(always)]
            fn select_greater(self, other: Self, yes: Self, no: Self) -> Self {
                let ($a, $b, $yes, $no) = (self.0, other.0, yes.0, no.0);
                $v(owned!($select))
            }
            #[inline(always)]
            fn spread(self, $group: usize, $at: usize) -> Self {
                let $spread = self.0;
                $v(owned!($spreading))
            }
            #[inline(always)]
            fn pow2(self) -> Self {
                // Adding this puts the biased exponent into the low bits of the mantissa.
                const BIAS: $e = 1.5 / <$e>::EPSILON + (<$e>::MAX_EXP - 1) as $e;
                const COUNT: $count = (<$e>::MANTISSA_DIGITS - 1) as $count;
                $v(owned!($number($shift::<COUNT>($bits($add(self.0, $splat(BIAS)))))))
            }
            #[inline(always)]
            fn reduce_sum(self) -> $e {
                let mut lanes = [0.0; $n];
                self.write(&mut lanes);
                halve(lanes, |a, b| a + b)
            }
            #[inline(always)]
            fn reduce_max(self) -> $e {
                let mut lanes = [0.0; $n];
                self.write(&mut lanes);
                halve(lanes, |a, b| if b > a || b.is_nan() { b } else { a })
            }
        }
    };
}

pub(super) use {owned, x86_memory, x86_vector};
