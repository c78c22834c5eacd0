// The family of activations, as functions of one number.
#pragma once
#include "prim.cuh"

// As cnn-cuda/src/activation.rs numbers them.
enum Activation {
    NONE = 0,
    RELU = 1,
    GELU = 2,
    RELU6 = 3,
    LEAKY_RELU = 4,
    SILU = 5,
    HARDSWISH = 6,
    SIGMOID = 7,
    HARDSIGMOID = 8
};

// max(x, 0); NaN stays NaN.
DEVICE float relu(float x) { return x < 0.0f ? 0.0f : x; }

// The Gaussian distribution function, whose left tail keeps its digits.
DEVICE float gaussian_distribution(float x) { return 0.5f * erfcf(-0.70710678f * x); }

DEVICE float gelu(float x) { return x * gaussian_distribution(x); }

// min(max(x, 0), 6); NaN stays NaN.
DEVICE float relu6(float x) { return x < 0.0f ? 0.0f : x > 6.0f ? 6.0f : x; }

// `value` where `of` is above 0, else a hundredth of it.
DEVICE float leaky(float of, float value) { return of > 0.0f ? value : value * 0.01f; }

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

DEVICE float activate(i32 activation, float x) {
    switch (activation) {
        case RELU: return relu(x);
        case GELU: return gelu(x);
        case RELU6: return relu6(x);
        case LEAKY_RELU: return leaky(x, x);
        case SILU: return x * sigmoid(x);
        case HARDSWISH: return x * relu6(x + 3.0f) / 6.0f;
        case SIGMOID: return sigmoid(x);
        case HARDSIGMOID: return relu6(x + 3.0f) / 6.0f;
        default: return x;
    }
}

// dy times the derivative; `saved` is what cnn-core says that an activation's gradient is computed of: its input or its output.
DEVICE float activate_backward(i32 activation, float saved, float dy) {
    switch (activation) {
        case RELU: return saved <= 0.0f ? 0.0f : dy;
        case GELU: {
            float density = 0.39894228f * expf(-0.5f * saved * saved);
            return dy * (gaussian_distribution(saved) + saved * density);
        }
        case RELU6: return saved <= 0.0f || saved >= 6.0f ? 0.0f : dy;
        case LEAKY_RELU: return leaky(saved, dy);
        case SILU: {
            float part = sigmoid(saved);
            return dy * (part * (1.0f + saved * (1.0f - part)));
        }
        case HARDSWISH: return saved <= -3.0f ? 0.0f : saved >= 3.0f ? dy : dy * (saved / 3.0f + 0.5f);
        case SIGMOID: return dy * saved * (1.0f - saved);
        case HARDSIGMOID: return saved > 0.0f && saved < 1.0f ? dy / 6.0f : 0.0f;
        default: return dy;
    }
}
