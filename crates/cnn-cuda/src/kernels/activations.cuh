// The family of activations, as functions of one number.
#pragma once
#include "prim.cuh"

// As cnn-cuda/src/activation.rs numbers them.
enum Activation { NONE = 0, RELU = 1, GELU = 2 };

// max(x, 0); NaN stays NaN.
DEVICE float relu(float x) { return x < 0.0f ? 0.0f : x; }

// The Gaussian distribution function, whose left tail keeps its digits.
DEVICE float gaussian_distribution(float x) { return 0.5f * erfcf(-0.70710678f * x); }

DEVICE float gelu(float x) { return x * gaussian_distribution(x); }

DEVICE float activate(i32 activation, float x) {
    return activation == RELU ? relu(x) : activation == GELU ? gelu(x) : x;
}

// dy times the derivative; `saved` is ReLU's output, GELU's input.
DEVICE float activate_backward(i32 activation, float saved, float dy) {
    if (activation == RELU) return saved <= 0.0f ? 0.0f : dy;
    if (activation == GELU) {
        float density = 0.39894228f * expf(-0.5f * saved * saved);
        return dy * (gaussian_distribution(saved) + saved * density);
    }
    return dy;
}
