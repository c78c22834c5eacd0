// Softmax, cross entropy and the binary one, row by row.
//
// A row is read three times, of which the second and third find it in the cache: for its largest logit, for the sum of
// exponentials and to write the result. The sum is kept without its largest term, which is 1: log(1 + rest) then keeps the
// digits of a small loss.
#include "grid.cuh"

// Rows are shared by the threads of a team: a warp, or the whole block where rows are long.
constexpr int WARP = 32, BLOCK = 256;

// `row` of every row that is this team's.
#define FOR_EACH_ROW(row, rows, TEAM)                                                          \
    for (u64 row = u64(blockIdx.x) * (BLOCK / TEAM) + threadIdx.x / TEAM; row < (rows);          \
         row += u64(gridDim.x) * (BLOCK / TEAM))

// `i` of every class of a row that is this thread's. Two at a time: for more there are no registers.
#define FOR_EACH_CLASS(i, classes, TEAM) \
    _Pragma("unroll 2") for (u32 i = threadIdx.x % TEAM; i < (classes); i += TEAM)

template <int TEAM> DEVICE float team_sum(float x) {
    if (TEAM == WARP) return warp_sum(x);
    __shared__ float room[BLOCK / WARP];
    return block_sum(x, room);
}

// A logit and its class.
struct Logit {
    float value;
    u32 index;
};

// The larger of two; NaN is larger than numbers, and of equal ones it is the first.
DEVICE Logit larger(Logit a, Logit b) {
    bool equal = a.value == b.value || isnan(a.value) && isnan(b.value);
    // A comparison with NaN is false.
    bool wins = equal ? b.index < a.index : b.value > a.value || isnan(b.value);
    return wins ? b : a;
}

DEVICE Logit warp_largest(Logit x) {
    for (int other = WARP / 2; other > 0; other /= 2) {
        x = larger(x, {__shfl_xor_sync(~0u, x.value, other), __shfl_xor_sync(~0u, x.index, other)});
    }
    return x;
}

// The largest logit of a row.
template <int TEAM> DEVICE Logit row_largest(const element* row, u32 classes) {
    Logit largest = {__uint_as_float(0xff800000u), ~0u};  // minus infinity, behind all classes
    FOR_EACH_CLASS(i, classes, TEAM) largest = larger(largest, {to_f32(row[i]), i});
    largest = warp_largest(largest);
    if (TEAM == WARP) return largest;
    __shared__ Logit room[BLOCK / WARP];
    __syncthreads();  // what the room was used for before is over
    if (threadIdx.x % WARP == 0) room[threadIdx.x / WARP] = largest;
    __syncthreads();
    for (int warp = 0; warp < BLOCK / WARP; warp++) largest = larger(largest, room[warp]);
    return largest;
}

// exp(x - max). Where the maximum is infinite its own is NaN, as infinity less itself.
DEVICE float exponential(element x, Logit largest) { return expf(to_f32(x) - largest.value); }

// The sum of the exponentials of a row without that of the largest, which is 1.
template <int TEAM> DEVICE float other_exponentials(const element* row, u32 classes, Logit largest) {
    float sum = 0.0f;
    FOR_EACH_CLASS(i, classes, TEAM) {
        sum += exponential(row[i], largest) - (i == largest.index ? 1.0f : 0.0f);
    }
    return team_sum<TEAM>(sum);
}

template <int TEAM> DEVICE void softmax_rows(const element* x, element* y, u64 rows, u32 classes) {
    FOR_EACH_ROW(row, rows, TEAM) {
        const element* logits = x + row * classes;
        Logit largest = row_largest<TEAM>(logits, classes);
        float inverse = 1.0f / (1.0f + other_exponentials<TEAM>(logits, classes, largest));
        FOR_EACH_CLASS(i, classes, TEAM) {
            y[row * classes + i] = from_f32<element>(exponential(logits[i], largest) * inverse);
        }
    }
}

// exp(x) / sum exp(x) over each row.
KERNEL(256) softmax(const element* x, element* y, u64 rows, u32 classes, u32 rows_of_block) {
    if (rows_of_block == 1) softmax_rows<BLOCK>(x, y, rows, classes);
    else softmax_rows<WARP>(x, y, rows, classes);
}

template <int TEAM>
DEVICE void softmax_backward_rows(const element* y, const element* dy, element* dx, u64 rows, u32 classes) {
    FOR_EACH_ROW(row, rows, TEAM) {
        u64 first = row * classes;
        float dot = 0.0f;
        FOR_EACH_CLASS(i, classes, TEAM) {
            dot = fmaf(to_f32(y[first + i]), to_f32(dy[first + i]), dot);
        }
        dot = team_sum<TEAM>(dot);
        FOR_EACH_CLASS(i, classes, TEAM) {
            dx[first + i] = from_f32<element>(to_f32(y[first + i]) * (to_f32(dy[first + i]) - dot));
        }
    }
}

// y * (dy - sum(y * dy)) over each row. dx may be dy.
KERNEL(256) softmax_backward(
    const element* y, const element* dy, element* dx, u64 rows, u32 classes, u32 rows_of_block) {
    if (rows_of_block == 1) softmax_backward_rows<BLOCK>(y, dy, dx, rows, classes);
    else softmax_backward_rows<WARP>(y, dy, dx, rows, classes);
}

// What a row's probabilities should be: `all` for each class, `label` more for its label, and `other` more for the label of the
// row before it; which of the two a prediction has to meet; and what the mean is over.
struct Target {
    float label;
    float other;
    float all;
    u32 meets_other;
    float count;
};

// What a class counts: 1 where there are no weights, and of what is no class.
DEVICE float weight_of(const float* weights, u32 i, u32 classes) { return weights && i < classes ? weights[i] : 1.0f; }

// The sum of all weights.
template <int TEAM> DEVICE float sum_of_weights(const float* weights, u32 classes) {
    if (!weights) return float(classes);
    float sum = 0.0f;
    FOR_EACH_CLASS(i, classes, TEAM) sum += weights[i];
    return team_sum<TEAM>(sum);
}

// The label of the row before, of the first row that of the last.
DEVICE u32 label_before(const u32* labels, u64 row, u64 rows) { return labels[row == 0 ? rows - 1 : row - 1]; }

// Adds the label of the row before to a row: to its loss, which the first thread of the team counts, and to the one number of its
// gradient that this changes, by the thread that wrote it. `total` is all that the row wants together.
template <int TEAM>
DEVICE void mix_label(const element* logits, const u32* labels, const float* weights, element* dx, double& loss, u64 row,
                      u64 rows, u32 classes, Target target, Logit largest, float log_sum, float inverse, float total) {
    u32 other = label_before(labels, row, rows);
    float at_other = other < classes ? to_f32(logits[other]) : __uint_as_float(0x7fffffffu);
    float weight = weight_of(weights, other, classes);
    if (threadIdx.x % TEAM == 0) loss += double(weight * target.other) * (log_sum - (at_other - largest.value));
    if (other < classes && threadIdx.x % TEAM == other % TEAM) {
        float wanted = weight * (target.other + target.all + (other == labels[row] ? target.label : 0.0f));
        float probability = exponential(logits[other], largest) * inverse;
        dx[row * classes + other] = from_f32<element>((probability * total - wanted) / target.count);
    }
}

// The block's sums of what its threads have, kept in its place.
DEVICE void keep_sums(double loss, u32 hit, double* losses, u32* hits) {
    __shared__ double loss_room[BLOCK / WARP];
    __shared__ u32 hit_room[BLOCK / WARP];
    loss = block_sum(loss, loss_room);
    hit = block_sum(hit, hit_room);
    if (threadIdx.x == 0) {
        losses[blockIdx.x] = loss;
        hits[blockIdx.x] = hit;
    }
}

template <int TEAM>
DEVICE void cross_entropy_rows(const element* x, const u32* labels, const float* weights, element* dx, double* losses,
                               u32* hits, u64 rows, u32 classes, Target target) {
    double loss = 0.0;  // of all rows of this team, which the first of its threads counts
    u32 hit = 0;
    float weight_sum = sum_of_weights<TEAM>(weights, classes);
    FOR_EACH_ROW(row, rows, TEAM) {
        const element* logits = x + row * classes;
        u32 label = labels[row];
        Logit largest = row_largest<TEAM>(logits, classes);
        float rest = other_exponentials<TEAM>(logits, classes, largest);
        float log_sum = log1pf(rest), inverse = 1.0f / (1.0f + rest), scale = 1.0f / target.count;
        float weight = weight_of(weights, label, classes), total = 1.0f;
        if (weights) {
            total = target.label * weight + target.all * weight_sum;
            if (target.other != 0.0f) {
                total += target.other * weight_of(weights, label_before(labels, row, rows), classes);
            }
        }
        float below = 0.0f;  // what the logits are less than the largest, all together, each as often as it counts
        FOR_EACH_CLASS(i, classes, TEAM) {
            float counts = weight_of(weights, i, classes);
            below += counts * (to_f32(logits[i]) - largest.value);
            float probability = exponential(logits[i], largest) * inverse;
            float wanted = counts * (i == label ? target.label + target.all : target.all);
            dx[row * classes + i] = from_f32<element>((probability * total - wanted) * scale);
        }
        below = team_sum<TEAM>(below);
        if (target.other != 0.0f) {
            mix_label<TEAM>(logits, labels, weights, dx, loss, row, rows, classes, target, largest, log_sum, inverse, total);
        }
        if (threadIdx.x % TEAM == 0) {
            // -log softmax(x) = log_sum - (x - max). What is no class has no logit: NaN, and nothing is read.
            float at_label = label < classes ? to_f32(logits[label]) : __uint_as_float(0x7fffffffu);
            loss += double(weight * target.label) * (log_sum - (at_label - largest.value));
            // A class that is not wanted at all may have probability 0.
            if (target.all != 0.0f) loss += double(target.all) * (double(log_sum) * weight_sum - below);
            hit += largest.index == (target.meets_other ? label_before(labels, row, rows) : label);
        }
    }
    keep_sums(loss, hit, losses, hits);
}

// 64 registers: what is free to have as many as it likes is given 32 on some GPUs, and spills.
#undef BLOCKS_AT_LEAST
#define BLOCKS_AT_LEAST , 4
// The gradient of the mean loss by the logits, and the sum of losses and how many rows are right for each block. The loss of
// a row whose label is no class is NaN. `weights` says what each class counts, and is null where all count alike.
KERNEL(256) cross_entropy(const element* logits, const u32* labels, element* dlogits, const float* weights, double* losses,
                          u32* hits, u64 rows, u32 classes, Target target, u32 rows_of_block) {
    if (rows_of_block == 1) {
        cross_entropy_rows<BLOCK>(logits, labels, weights, dlogits, losses, hits, rows, classes, target);
    } else {
        cross_entropy_rows<WARP>(logits, labels, weights, dlogits, losses, hits, rows, classes, target);
    }
}

template <int TEAM>
DEVICE void binary_cross_entropy_rows(const element* x, const float* targets, const float* weights, element* dx,
                                      double* losses, u32* hits, u64 rows, u32 classes, float scale) {
    double loss = 0.0;  // of this thread's logits
    u32 hit = 0;        // rows of this team, which the first of its threads counts
    FOR_EACH_ROW(row, rows, TEAM) {
        float wrong = 0.0f;
        FOR_EACH_CLASS(i, classes, TEAM) {
            float logit = to_f32(x[row * classes + i]), target = targets[row * classes + i];
            float yes = weight_of(weights, i, classes) * target, no = 1.0f - target, small = expf(-fabsf(logit));
            // softplus(x) = max(x, 0) + log(1 + e^-|x|), and 0 * infinity would be NaN.
            float wrong_side = logit < 0.0f ? yes : no;
            float far = wrong_side == 0.0f && !isnan(logit) ? 0.0f : wrong_side * fabsf(logit);
            loss += double(far) + double(yes + no) * log1pf(small);
            float sigmoid = (logit < 0.0f ? small : 1.0f) / (1.0f + small);
            dx[row * classes + i] = from_f32<element>(((yes + no) * sigmoid - yes) * scale);
            // A comparison with NaN is false, and NaN is never right.
            if (isnan(logit) || (logit >= 0.0f) != (target >= 0.5f)) wrong += 1.0f;
        }
        wrong = team_sum<TEAM>(wrong);
        if (threadIdx.x % TEAM == 0) hit += wrong == 0.0f;
    }
    keep_sums(loss, hit, losses, hits);
}

// Of the mean loss over all logits its gradient, `scale` being one of their number, and for each block the sum of losses and of how
// many rows all is right. `weights` says what it counts that a row has a class, and is null where that is 1.
KERNEL(256) binary_cross_entropy(const element* logits, const float* targets, element* dlogits, const float* weights,
                                 double* losses, u32* hits, u64 rows, u32 classes, float scale, u32 rows_of_block) {
    if (rows_of_block == 1) {
        binary_cross_entropy_rows<BLOCK>(logits, targets, weights, dlogits, losses, hits, rows, classes, scale);
    } else {
        binary_cross_entropy_rows<WARP>(logits, targets, weights, dlogits, losses, hits, rows, classes, scale);
    }
}

// The mean of the blocks' losses over `count` rows, their weights or their logits, NaN where there are none, and the sum of their
// hits: by one block.
KERNEL(256) cross_entropy_mean(
    const double* losses, const u32* hits, u32 blocks, double count, float* mean, u32* correct) {
    __shared__ double loss_room[BLOCK / WARP];
    __shared__ u32 hit_room[BLOCK / WARP];
    double loss = 0.0;
    u32 hit = 0;
    for (u32 i = threadIdx.x; i < blocks; i += BLOCK) {
        loss += losses[i];
        hit += hits[i];
    }
    loss = block_sum(loss, loss_room);
    hit = block_sum(hit, hit_room);
    if (threadIdx.x == 0) {
        *mean = float(loss / count);
        *correct = hit;
    }
}
