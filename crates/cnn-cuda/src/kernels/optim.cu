// Blends of parameters; SGD and Adam over many parameters at once, and the check that allows it.
//
// All parameters are cut into pieces of one size, one for each block, so that a model of many small and a few large ones
// keeps the whole GPU at work.
#include "grid.cuh"
#include "vectors.cuh"

// Numbers of a piece: as cnn-cuda/src/optim.rs cuts them.
constexpr u32 PIECE = 8192;
// The most parameters of a launch.
constexpr u32 PARAMETERS = 64;

// A parameter: its buffers, each of `len` numbers. `rounded` is the value as products read it, where that is kept, else null.
template <int BUFFERS> struct Parameter {
    float* buffers[BUFFERS];
    element* rounded;
    u32 len;
    float rate;  // of learning
    float weight_decay;
    u32 pieces;  // up to its end, with those of all parameters before it
};

template <int BUFFERS> struct Parameters {
    Parameter<BUFFERS> of[PARAMETERS];
    u64 count;
};

// Numbers `start` to before `end` of parameter `index`: what this block works on.
struct Piece {
    u32 index;
    u32 start;
    u32 end;
};

template <int BUFFERS> DEVICE Piece piece_of(const Parameters<BUFFERS>& parameters) {
    // The first parameter whose pieces end behind this one.
    u32 index = 0, end = u32(parameters.count) - 1;
    while (index < end) {
        u32 middle = (index + end) / 2;
        if (parameters.of[middle].pieces > blockIdx.x) end = middle;
        else index = middle + 1;
    }
    u32 before = index == 0 ? 0 : parameters.of[index - 1].pieces;
    u32 start = (blockIdx.x - before) * PIECE;
    return {index, start, start + min(PIECE, parameters.of[index].len - start)};
}

// `i` of every vector of four numbers of a piece that is this thread's.
#define FOR_EACH_VECTOR_OF(i, piece) for (u32 i = (piece).start + 4 * threadIdx.x; i < (piece).end; i += 4 * 256)

// into = a * into + b * from.
KERNEL(256) blend(float* into, const float* from, float a, float b, u64 count) {
    FOR_EACH_VECTOR(4, at, count) {
        u64 left = count - at;
        float x[4], other[4];
        load_some(x, into + at, left);
        load_some(other, from + at, left);
        for (int lane = 0; lane < 4; lane++) x[lane] = fmaf(b, other[lane], a * x[lane]);
        store_some(into + at, x, left);
    }
}

// The sum of squares of every piece of some gradients, from `first` on. In f64: the square of a large f32 would overflow.
KERNEL(256) squared_norms(Parameters<1> gradients, double* squares, u32 first) {
    __shared__ double room[8];
    Piece piece = piece_of(gradients);
    const float* gradient = gradients.of[piece.index].buffers[0];
    double sum = 0.0;
    FOR_EACH_VECTOR_OF(i, piece) {
        float g[4];
        load_some(g, gradient + i, piece.end - i);
        for (int lane = 0; lane < 4; lane++) sum = fma(double(g[lane]), double(g[lane]), sum);
    }
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) squares[first + blockIdx.x] = sum;
}

// The norm, and whether it is finite and at most `largest`, and the losses are finite: by one block.
KERNEL(256) gradient_health(
    const double* squares, u32 pieces, const float* losses, u32 loss_count, double largest, float* norm, u32* finite) {
    __shared__ double room[8];
    double sum = 0.0;
    for (u32 i = threadIdx.x; i < pieces; i += 256) sum += squares[i];
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) {
        *norm = float(sqrt(sum));
        bool healthy = isfinite(*norm) && double(*norm) <= largest;
        for (u32 i = 0; i < loss_count; i++) healthy = healthy && isfinite(losses[i]);
        *finite = healthy;
    }
}

// Writes a vector of a parameter's value, the first of its buffers.
template <int BUFFERS>
DEVICE void store_value(const Parameter<BUFFERS>& parameter, u32 i, const float (&w)[4], u64 left) {
    store_some(parameter.buffers[0] + i, w, left);
    if (parameter.rounded) store_some(parameter.rounded + i, w, left);
}

// What a step reads of the health of its gradients.
struct Health {
    const float* norm;
    const u32* finite;
};

// The factor that brings the gradients down to a norm of `max_norm`.
DEVICE float clipping(const Health& health, float max_norm) {
    float norm = *health.norm;
    return norm > max_norm ? max_norm / norm : 1.0f;
}

// One step of SGD. The buffers are value, gradient, velocity.
KERNEL(256) sgd(Parameters<3> parameters, Health health, float max_norm, float momentum, i32 nesterov) {
    if (*health.finite == 0) return;
    float clip = clipping(health, max_norm);
    Piece piece = piece_of(parameters);
    const Parameter<3>& parameter = parameters.of[piece.index];
    float *value = parameter.buffers[0], *gradient = parameter.buffers[1], *velocity = parameter.buffers[2];
    float rate = parameter.rate, weight_decay = parameter.weight_decay;
    FOR_EACH_VECTOR_OF(i, piece) {
        u32 left = piece.end - i;
        float w[4], dw[4], v[4];
        load_some(w, value + i, left);
        load_some(dw, gradient + i, left);
        load_some(v, velocity + i, left);
        for (int lane = 0; lane < 4; lane++) {
            float g = fmaf(weight_decay, w[lane], dw[lane] * clip);
            v[lane] = fmaf(momentum, v[lane], g);
            float direction = nesterov ? fmaf(momentum, v[lane], g) : v[lane];
            w[lane] = fmaf(-rate, direction, w[lane]);
        }
        store_some(velocity + i, v, left);
        store_value(parameter, i, w, left);
    }
}

// The numbers of a step of Adam or AdamW. As cnn-cuda/src/optim.rs has it.
struct AdamStep {
    double beta1;
    double beta2;
    float rest1;  // 1 - beta1
    float rest2;  // 1 - beta2
    float eps;
    float max_norm;
    u64 decoupled;
};

// How many steps each parameter has taken.
struct StepCounts {
    u32* of[PARAMETERS];
};

// What the bias of the first steps, whose moments began at zero, is undone by.
struct Corrections {
    float first;        // divides the first moment
    float second_root;  // divides the root of the second
};

// base to the power of a whole number, by squaring.
DEVICE double power(double base, u32 exponent) {
    double result = 1.0;
    for (; exponent > 0; exponent >>= 1, base *= base) {
        if (exponent & 1) result *= base;
    }
    return result;
}

// Counts a step of each parameter, and what it is corrected by: a thread for each.
KERNEL(64) adam_count(StepCounts steps, u32 count, Health health, AdamStep step, Corrections* corrections) {
    if (*health.finite == 0 || threadIdx.x >= count) return;
    u32 before = *steps.of[threadIdx.x];
    u32 t = before == ~0u ? before : before + 1;
    *steps.of[threadIdx.x] = t;
    corrections[threadIdx.x] = {float(1.0 - power(step.beta1, t)), float(sqrt(1.0 - power(step.beta2, t)))};
}

// One step of Adam or AdamW, after it was counted. The buffers are value, gradient, first and second moment.
KERNEL(256) adam(Parameters<4> parameters, Health health, AdamStep step, const Corrections* corrections) {
    if (*health.finite == 0) return;
    float clip = clipping(health, step.max_norm);
    Piece piece = piece_of(parameters);
    const Parameter<4>& parameter = parameters.of[piece.index];
    float *value = parameter.buffers[0], *gradient = parameter.buffers[1];
    float *first = parameter.buffers[2], *second = parameter.buffers[3];
    Corrections correction = corrections[piece.index];
    float rate = parameter.rate / correction.first, inverse_root = 1.0f / correction.second_root;
    // Weight decay shrinks the weights themselves, or else enters the gradient.
    float keep = step.decoupled ? 1.0f - parameter.rate * parameter.weight_decay : 1.0f;
    float penalty = step.decoupled ? 0.0f : parameter.weight_decay;
    float beta1 = float(step.beta1), beta2 = float(step.beta2);
    FOR_EACH_VECTOR_OF(i, piece) {
        u32 left = piece.end - i;
        float w[4], dw[4], m[4], v[4];
        load_some(w, value + i, left);
        load_some(dw, gradient + i, left);
        load_some(m, first + i, left);
        load_some(v, second + i, left);
        for (int lane = 0; lane < 4; lane++) {
            float g = fmaf(penalty, w[lane], dw[lane] * clip);
            m[lane] = fmaf(beta1, m[lane], step.rest1 * g);
            v[lane] = fmaf(beta2, v[lane], step.rest2 * g * g);
            float direction = m[lane] / fmaf(sqrtf(v[lane]), inverse_root, step.eps);
            w[lane] = fmaf(-rate, direction, w[lane] * keep);
        }
        store_some(first + i, m, left);
        store_some(second + i, v, left);
        store_value(parameter, i, w, left);
    }
}
