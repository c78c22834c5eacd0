// Mean and squared deviations of some numbers, and how they are merged with those of others.
//
// Never as the mean of squares minus the square of the mean, which would cancel, but by the formula of Chan, Golub and LeVeque,
// "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
#pragma once
#include "prim.cuh"

// Mean and sum of squared deviations from it, of `count` numbers in each of N channels. Those of no numbers are {}.
template <int N> struct Moments {
    float count;
    float mean[N], m2[N];

    // The moments of these numbers and others together.
    DEVICE void merge(const Moments& other) {
        if (other.count == 0.0f) return;
        float total = count + other.count;
        float share = other.count / total;
        float weight = count * share;
#pragma unroll
        for (int c = 0; c < N; c++) {
            float difference = other.mean[c] - mean[c];
            mean[c] += difference * share;
            m2[c] += other.m2[c] + difference * difference * weight;
        }
        count = total;
    }

    // Each number given to `f`.
    template <class F> DEVICE Moments each(F f) const {
        Moments result;
        result.count = f(count);
#pragma unroll
        for (int c = 0; c < N; c++) result.mean[c] = f(mean[c]), result.m2[c] = f(m2[c]);
        return result;
    }
};
