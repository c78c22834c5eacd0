// CUDA C++'s mathematical functions and bit operations, on the host's library.
#pragma once
#include "runtime.hpp"

extern "C" {
float expf(float), exp2f(float), expm1f(float), logf(float), log2f(float), log1pf(float), powf(float, float);
float sqrtf(float), cbrtf(float), sinf(float), cosf(float), tanhf(float), erff(float), erfcf(float);
float fmaf(float, float, float), fmaxf(float, float), fminf(float, float), fmodf(float, float), fabsf(float);
float floorf(float), ceilf(float), roundf(float), rintf(float), truncf(float), copysignf(float, float),
    ldexpf(float, int);
double exp(double), exp2(double), expm1(double), log(double), log2(double), log1p(double), pow(double, double);
double sqrt(double), sin(double), cos(double), tanh(double), erf(double), fma(double, double, double);
double fmax(double, double), fmin(double, double), fabs(double), floor(double), ceil(double), round(double),
    rint(double);
int abs(int);
}

inline float exp(float x) { return expf(x); }
inline float log(float x) { return logf(x); }
inline float pow(float x, float y) { return powf(x, y); }
inline float sqrt(float x) { return sqrtf(x); }
inline float tanh(float x) { return tanhf(x); }
inline float fma(float a, float b, float c) { return fmaf(a, b, c); }
inline float fabs(float x) { return fabsf(x); }
inline float floor(float x) { return floorf(x); }
inline float ceil(float x) { return ceilf(x); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline bool isnan(float x) { return __builtin_isnan(x); }
inline bool isnan(double x) { return __builtin_isnan(x); }
inline bool isinf(float x) { return __builtin_isinf(x); }
inline bool isinf(double x) { return __builtin_isinf(x); }
inline bool isfinite(float x) { return __builtin_isfinite(x); }
inline bool isfinite(double x) { return __builtin_isfinite(x); }
inline bool signbit(float x) { return __builtin_signbit(x); }

#define EMULATOR_ORDER(T)                                                                                              \
    inline T min(T a, T b) { return b < a ? b : a; }                                                                   \
    inline T max(T a, T b) { return a < b ? b : a; }
EMULATOR_ORDER(i32)
EMULATOR_ORDER(u32)
EMULATOR_ORDER(i64)
EMULATOR_ORDER(u64)
#undef EMULATOR_ORDER
// CUDA takes integers of two signs as unsigned.
inline u32 min(i32 a, u32 b) { return min((u32)a, b); }
inline u32 min(u32 a, i32 b) { return min(a, (u32)b); }
inline u32 max(i32 a, u32 b) { return max((u32)a, b); }
inline u32 max(u32 a, i32 b) { return max(a, (u32)b); }
// Of a number and a NaN, the number.
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

// Faster and less exact on a GPU; here they are the exact ones.
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
// Rounded by themselves, never fused with a neighbour.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline i32 __float2int_rn(float x) { return (i32)rintf(x); }
inline i32 __float2int_rd(float x) { return (i32)floorf(x); }

template <class To, class From> To emulator_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "bits are moved between types of one size");
    To to;
    __builtin_memcpy(&to, &from, sizeof to);
    return to;
}
inline u32 __float_as_uint(float x) { return emulator_bits<u32>(x); }
inline i32 __float_as_int(float x) { return emulator_bits<i32>(x); }
inline float __uint_as_float(u32 x) { return emulator_bits<float>(x); }
inline float __int_as_float(i32 x) { return emulator_bits<float>(x); }
inline i64 __double_as_longlong(double x) { return emulator_bits<i64>(x); }
inline double __longlong_as_double(i64 x) { return emulator_bits<double>(x); }

inline int __popc(u32 x) { return __builtin_popcount(x); }
inline int __ffs(i32 x) { return __builtin_ffs(x); }
inline int __clz(i32 x) { return x ? __builtin_clz(x) : 32; }
inline u32 __umulhi(u32 a, u32 b) { return (u32)((u64)a * b >> 32); }
inline i32 __mulhi(i32 a, i32 b) { return (i32)((i64)a * b >> 32); }
inline u64 __umul64hi(u64 a, u64 b) { return (u64)((unsigned __int128)a * b >> 64); }
