//! AMX: a unit that multiplies tiles of 16 rows of 64 bytes, pairs of bf16 with sums in f32.
//!
//! The compiler does not know what is in its eight registers, so a whole product with its loop is one piece of assembly:
//! nothing is in them before it or after it. [`Product`] gives the operands' layout.

use std::marker::PhantomData;

/// Rows of a tile, and numbers of a row of sums.
pub(crate) const ROWS: usize = 16;
/// Bytes of a word: of two bf16, or of a sum.
pub(crate) const WORD: usize = 4;
/// Bytes of a row of a tile.
pub(crate) const ROW: usize = ROWS * WORD;

/// Proof that the CPU multiplies tiles of bf16 and that the system lets this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tiles(());

/// A thread's use of tiles, from the first shapes that it loads until this is dropped.
pub(crate) struct Loaded {
    /// Rows of the two tiles of a; the second may have none. None at all before the first shapes.
    rows: [usize; 2],
    /// Tiles of b beside each other, 1 or 2.
    columns: usize,
    /// What was loaded is this thread's.
    _here: PhantomData<*const ()>,
}

impl Tiles {
    /// Begins to use tiles on this thread.
    pub(crate) fn begin(self) -> Loaded {
        Loaded { rows: [0; 2], columns: 0, _here: PhantomData }
    }
}

/// `sums[i][j] (+)= sum over the steps of a[i] b[j]`, of up to two tiles `i` of rows and two tiles `j` of columns.
///
/// A tile of `a` is its rows of 16 words each; one of `b` is 16 rows, one for each word of a row of `a`, of 16 words, those
/// of the second tile behind those of the first. A tile of sums is 16 rows of 16 f32, `[i][j][16][16]`, of which only
/// the rows that `a` has are written.
pub(crate) struct Product<'a> {
    /// What the steps' first numbers are counted from.
    pub(crate) a: *const u8,
    /// Bytes from a row of a to the next, and from its first tile to its second.
    pub(crate) a_row: usize,
    pub(crate) a_second: usize,
    /// What the steps' second numbers are counted from.
    pub(crate) b: *const u8,
    /// Bytes from a row of b to the next.
    pub(crate) b_row: usize,
    /// Bytes to the tiles of a and b of each step.
    pub(crate) steps: &'a [[usize; 2]],
    pub(crate) sums: *mut f32,
    /// Whether the sums are added to what is there.
    pub(crate) add: bool,
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    use std::sync::OnceLock;

    use super::{Loaded, Product, ROWS, Tiles};

    impl Tiles {
        /// Asks the processor, and once the system for leave: from then on a thread that uses tiles has room for them
        /// among what is kept when it is interrupted.
        pub(crate) fn detect() -> Option<Tiles> {
            static FOUND: OnceLock<bool> = OnceLock::new();
            FOUND.get_or_init(|| has_tiles() && permitted()).then_some(Tiles(()))
        }
    }

    /// Whether the processor has AMX-TILE and AMX-BF16, and the system keeps the tiles' state.
    fn has_tiles() -> bool {
        const OSXSAVE: u32 = 1 << 27; // of leaf 1, ECX
        const TILE_AND_BF16: u32 = 1 << 24 | 1 << 22; // of leaf 7, EDX
        const STATE: u64 = 0b11 << 17; // of XCR0
        if __cpuid(0).eax < 7
            || __cpuid(1).ecx & OSXSAVE == 0
            || __cpuid_count(7, 0).edx & TILE_AND_BF16 != TILE_AND_BF16
        {
            return false;
        }
        #[target_feature(enable = "xsave")]
        fn kept() -> u64 {
            // SAFETY: register 0 is there where OSXSAVE is.
            unsafe { _xgetbv(0) }
        }
        // SAFETY: OSXSAVE says that the system uses XSAVE, and with it the instruction that reads XCR0.
        unsafe { kept() & STATE == STATE }
    }

    /// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`, since Linux 5.16.
    fn permitted() -> bool {
        const ARCH_PRCTL: i64 = 158;
        const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
        const XFEATURE_XTILEDATA: i64 = 18;
        let result: i64;
        // SAFETY: the call takes two numbers and touches no memory of this process; RCX and R11 are what a call to the
        // system changes. A system that does not know it says so by an error.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => result,
                in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") XFEATURE_XTILEDATA,
                out("rcx") _,
                out("r11") _,
                options(nostack)
            );
        }
        result == 0
    }

    /// What LDTILECFG reads.
    #[repr(C, align(64))]
    struct Config {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    impl Loaded {
        /// Loads the shapes of products with `rows` rows in the two tiles of a (the second may have none) and `columns`
        /// tiles of b, 1 or 2, if they are not those that are loaded.
        ///
        /// # Panics
        /// Shapes that there are not.
        #[inline(always)]
        pub(crate) fn shape(&mut self, rows: [usize; 2], columns: usize) {
            if (self.rows, self.columns) != (rows, columns) {
                self.load(rows, columns);
            }
        }

        #[cold]
        fn load(&mut self, rows: [usize; 2], columns: usize) {
            assert!((1..=ROWS).contains(&rows[0]) && rows[1] <= ROWS && (1..=2).contains(&columns));
            let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
            // Registers: sums 0 to 3, a 4 and 5, b 6 and 7.
            let second = rows[1].max(1); // a register that is not used has to have some shape
            for (tile, rows) in [rows[0], rows[0], second, second, rows[0], second, ROWS, ROWS].into_iter().enumerate()
            {
                (config.rows[tile], config.row_bytes[tile]) = (rows as u8, 64);
            }
            // SAFETY: a `Loaded` comes from a token, which was made where the CPU has tiles and the system lets this process
            // use them; the configuration is one of the palette that it names.
            unsafe {
                asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, readonly, preserves_flags));
            }
            (self.rows, self.columns) = (rows, columns);
        }
    }

    impl Drop for Loaded {
        fn drop(&mut self) {
            // SAFETY: as in `load`; nothing is in the tiles between products, and that none are loaded is no fault.
            unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
        }
    }

    /// A product of some tiles: what is done at the beginning if the sums are added to, at each step, and at the end.
    macro_rules! product {
        ($p:ident; [$($second:tt)*] $($add:literal)*; $($step:literal)*; $($store:literal)*) => {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                "test {add:e}, {add:e}",
                "jz 2f",
                $($add,)*
                "2:",
                "test {n}, {n}",
                "jz 4f",
                "3:",
                "mov {x}, [{steps}]",
                "mov {y}, [{steps} + 8]",
                "add {x}, {a}",
                "add {y}, {b}",
                $($step,)*
                "add {steps}, 16",
                "dec {n}",
                "jnz 3b",
                "4:",
                $($store,)*
                x = out(reg) _, y = out(reg) _, steps = inout(reg) $p.steps.as_ptr() => _, n = inout(reg) $p.steps.len() => _,
                a = in(reg) $p.a, b = in(reg) $p.b, a_row = in(reg) $p.a_row, b_row = in(reg) $p.b_row,
                $($second)* sums = in(reg) $p.sums, row = in(reg) 64usize, add = in(reg) u32::from($p.add),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            )
        };
    }

    impl Loaded {
        /// Computes a product of the shapes that are loaded.
        ///
        /// # Safety
        /// The tiles of each step can be read (of a the rows that there are, of b all), and the tiles of sums read and
        /// written by nobody else.
        #[inline(always)]
        pub(crate) unsafe fn run(&self, product: Product<'_>) {
            assert!(self.rows[0] > 0, "a product before the shapes of its tiles");
            // SAFETY: the shapes of all eight registers were loaded on this thread, which `Loaded` cannot leave, and stay
            // until it is dropped; each instruction reads or writes the rows of one tile that the caller promises.
            unsafe {
                match (self.rows[1] > 0, self.columns == 2) {
                    (true, true) => product!(product; [second = in(reg) product.a_second,]
                        "tileloadd tmm0, [{sums} + {row}*1]"
                        "tileloadd tmm1, [{sums} + {row}*1 + 1024]"
                        "tileloadd tmm2, [{sums} + {row}*1 + 2048]"
                        "tileloadd tmm3, [{sums} + {row}*1 + 3072]";
                        "tileloadd tmm6, [{y} + {b_row}*1]"
                        "tileloadd tmm4, [{x} + {a_row}*1]"
                        "tdpbf16ps tmm0, tmm4, tmm6"
                        "tileloadd tmm7, [{y} + {b_row}*1 + 64]"
                        "tdpbf16ps tmm1, tmm4, tmm7"
                        "add {x}, {second}"
                        "tileloadd tmm5, [{x} + {a_row}*1]"
                        "tdpbf16ps tmm2, tmm5, tmm6"
                        "tdpbf16ps tmm3, tmm5, tmm7";
                        "tilestored [{sums} + {row}*1], tmm0"
                        "tilestored [{sums} + {row}*1 + 1024], tmm1"
                        "tilestored [{sums} + {row}*1 + 2048], tmm2"
                        "tilestored [{sums} + {row}*1 + 3072], tmm3"),
                    (true, false) => product!(product; [second = in(reg) product.a_second,]
                        "tileloadd tmm0, [{sums} + {row}*1]"
                        "tileloadd tmm2, [{sums} + {row}*1 + 2048]";
                        "tileloadd tmm6, [{y} + {b_row}*1]"
                        "tileloadd tmm4, [{x} + {a_row}*1]"
                        "tdpbf16ps tmm0, tmm4, tmm6"
                        "add {x}, {second}"
                        "tileloadd tmm5, [{x} + {a_row}*1]"
                        "tdpbf16ps tmm2, tmm5, tmm6";
                        "tilestored [{sums} + {row}*1], tmm0"
                        "tilestored [{sums} + {row}*1 + 2048], tmm2"),
                    (false, true) => product!(product; []
                        "tileloadd tmm0, [{sums} + {row}*1]"
                        "tileloadd tmm1, [{sums} + {row}*1 + 1024]";
                        "tileloadd tmm6, [{y} + {b_row}*1]"
                        "tileloadd tmm4, [{x} + {a_row}*1]"
                        "tdpbf16ps tmm0, tmm4, tmm6"
                        "tileloadd tmm7, [{y} + {b_row}*1 + 64]"
                        "tdpbf16ps tmm1, tmm4, tmm7";
                        "tilestored [{sums} + {row}*1], tmm0"
                        "tilestored [{sums} + {row}*1 + 1024], tmm1"),
                    (false, false) => product!(product; []
                        "tileloadd tmm0, [{sums} + {row}*1]";
                        "tileloadd tmm6, [{y} + {b_row}*1]"
                        "tileloadd tmm4, [{x} + {a_row}*1]"
                        "tdpbf16ps tmm0, tmm4, tmm6";
                        "tilestored [{sums} + {row}*1], tmm0"),
                }
            }
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod none {
    use super::{Loaded, Product, Tiles};

    impl Tiles {
        /// There are none.
        pub(crate) fn detect() -> Option<Tiles> {
            None
        }
    }

    impl Loaded {
        pub(crate) fn shape(&mut self, _: [usize; 2], _: usize) {
            unreachable!("tiles on a CPU without them: nobody has a token")
        }

        /// # Safety
        /// None: never called.
        pub(crate) unsafe fn run(&self, _: Product<'_>) {
            unreachable!("tiles on a CPU without them: nobody has a token")
        }
    }
}
