// A stand-in for libcublasLt: matrix products of f32 and bf16 with sums in f32, on the emulated device's memory.
//
// Matrices are column by column, as cuBLAS has them: element (i, j) is at i + j * ld. It takes the worst that a caller allows:
// parts of a sum are rounded to the output's type where the reduction scheme may be one that does so, and a workspace is used
// where there may be one.
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "../device/runtime.hpp"

#define API extern "C" __attribute__((visibility("default")))

// Of the emulated driver.
extern "C" int emulator_enqueue(void* stream, void (*work)(void*), void (*destroy)(void*), void* state);
extern "C" bool emulator_allocated(u64 address, size_t bytes);

namespace {

// The names and numbers below are cuBLASLt's.

enum class Status : int {
    success = 0,
    not_initialized = 1,
    invalid_value = 7,
    execution_failed = 13,
    not_supported = 15
};

enum class DataType : int { f32 = 0, bf16 = 14 };

enum class ComputeType : int { f32 = 68, f32_pedantic = 69, f32_fast_tf32 = 77 };

struct Layout {
    DataType type;
    u64 rows, columns;
    i64 leading;
    i32 batches = 1;
    i64 batch_stride = 0;

    size_t element() const { return type == DataType::bf16 ? 2 : 4; }
    size_t bytes() const { return ((batches - 1) * batch_stride + (columns - 1) * leading + rows) * element(); }
};

enum LayoutAttribute {
    layout_type = 0,
    layout_order = 1,
    layout_rows = 2,
    layout_columns = 3,
    layout_leading = 4,
    layout_batches = 5,
    layout_batch_stride = 6
};

struct Description {
    ComputeType compute;
    i32 transpose_a = 0, transpose_b = 0;
    u32 epilogue = 1;
    u64 bias = 0;
    i64 bias_batch_stride = 0;
    // Of the bias; none is the product's own.
    i32 bias_type = -1;
    i32 pointer_mode = 0;
};

enum DescriptionAttribute {
    pointer_mode = 2,
    transpose_a = 3,
    transpose_b = 4,
    transpose_c = 5,
    epilogue = 7,
    bias_pointer = 8,
    bias_batch_stride = 10,
    bias_data_type = 26,
};

// Bits of an epilogue; 1 alone is none.
constexpr u32 epilogue_relu = 2, epilogue_bias = 4, epilogue_gelu = 32;

enum PreferenceAttribute { max_workspace_bytes = 1, reduction_scheme_mask = 3 };

// Bits of a mask of reduction schemes.
constexpr u32 reduction_in_place = 1, reduction_compute_type = 2, reduction_output_type = 4;

struct Preference {
    size_t workspace = 0;
    u32 reductions = reduction_in_place | reduction_compute_type | reduction_output_type;
};

struct Algorithm {
    u64 made_here;
    // Terms after which a part of a sum is rounded to the output's type; 0 for none.
    u64 part;
    u64 workspace;
    u64 unused[5];
};

constexpr u64 made_here = 0x63756c7465727473;

struct HeuristicResult {
    Algorithm algorithm;
    size_t workspace;
    Status status;
    float waves;
    int reserved[4];
};

template <class T> Status set(T& value, const void* from, size_t bytes) {
    if (bytes != sizeof(T)) return Status::invalid_value;
    memcpy(&value, from, bytes);
    return Status::success;
}

// What `EMULATOR_CUBLASLT` asks for.
bool asked_for(const char* what) {
    const char* asked = getenv("EMULATOR_CUBLASLT");
    return asked && !strcmp(asked, what);
}

float load(u64 address, DataType type, i64 index) {
    u32 bits = 0;
    if (type == DataType::bf16) {
        u16 half;
        memcpy(&half, reinterpret_cast<u16*>(address) + index, sizeof half);
        bits = (u32)half << 16;
    } else {
        memcpy(&bits, reinterpret_cast<u32*>(address) + index, sizeof bits);
    }
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void store(u64 address, DataType type, i64 index, float value) {
    u32 bits;
    memcpy(&bits, &value, sizeof bits);
    if (type == DataType::f32) {
        memcpy(reinterpret_cast<u32*>(address) + index, &bits, sizeof bits);
        return;
    }
    u16 half = std::isnan(value) ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    memcpy(reinterpret_cast<u16*>(address) + index, &half, sizeof half);
}

// As it would be stored.
float rounded(float value, DataType type) {
    u32 memory;
    store(reinterpret_cast<u64>(&memory), type, 0, value);
    return load(reinterpret_cast<u64>(&memory), type, 0);
}

// To 10 bits after the point.
float rounded_to_tf32(float value) {
    u32 bits;
    memcpy(&bits, &value, sizeof bits);
    if (std::isfinite(value)) bits = (bits + 0x1000) & ~0x1fffu;
    memcpy(&value, &bits, sizeof bits);
    return value;
}

// d = epilogue(alpha a b + beta c).
struct Product {
    Description description;
    float alpha, beta;
    u64 a, b, c, d;
    Layout a_layout, b_layout, c_layout, d_layout;
    Algorithm algorithm;
    u64 workspace;

    u64 depth() const { return description.transpose_a ? a_layout.rows : a_layout.columns; }

    Status check() const {
        u64 rows = description.transpose_a ? a_layout.columns : a_layout.rows;
        u64 columns = description.transpose_b ? b_layout.rows : b_layout.columns;
        u64 b_depth = description.transpose_b ? b_layout.columns : b_layout.rows;
        bool sizes = rows == d_layout.rows && columns == d_layout.columns && b_depth == depth() &&
                     c_layout.rows == rows && c_layout.columns == columns;
        if (!sizes) return Status::invalid_value;
        for (const Layout* layout : {&a_layout, &b_layout, &c_layout, &d_layout})
            if (layout->leading < (i64)layout->rows || layout->batches != d_layout.batches)
                return Status::invalid_value;
        bool types = a_layout.type == b_layout.type && c_layout.type == d_layout.type &&
                     (d_layout.type == a_layout.type || d_layout.type == DataType::f32);
        bool known =
            description.pointer_mode == 0 && bias_type() == d_layout.type &&
            (description.epilogue == 1 || !(description.epilogue & ~(epilogue_relu | epilogue_bias | epilogue_gelu)));
        return types && known ? Status::success : Status::not_supported;
    }

    // The name of a matrix that lies outside the device's memory, or null.
    const char* outside() const {
        if (!emulator_allocated(a, a_layout.bytes())) return "A";
        if (!emulator_allocated(b, b_layout.bytes())) return "B";
        if (beta != 0 && !emulator_allocated(c, c_layout.bytes())) return "C";
        if (!emulator_allocated(d, d_layout.bytes())) return "D";
        if (algorithm.workspace && !emulator_allocated(workspace, algorithm.workspace)) return "workspace";
        bool has_bias = description.epilogue & epilogue_bias;
        return has_bias &&
                       !emulator_allocated(description.bias, d_layout.rows * (bias_type() == DataType::bf16 ? 2 : 4))
                 ? "bias"
                 : nullptr;
    }

    DataType bias_type() const {
        return description.bias_type < 0 ? d_layout.type : static_cast<DataType>(description.bias_type);
    }

    float operand(u64 matrix, const Layout& layout, bool transposed, i32 batch, u64 row, u64 column) const {
        i64 index = transposed ? column + row * layout.leading : row + column * layout.leading;
        float value = load(matrix, layout.type, batch * layout.batch_stride + index);
        return description.compute == ComputeType::f32_fast_tf32 ? rounded_to_tf32(value) : value;
    }

    float finished(float value, i32 batch, u64 row) const {
        if (description.epilogue & epilogue_bias)
            value += load(description.bias, bias_type(), batch * description.bias_batch_stride + row);
        if (description.epilogue & epilogue_relu) value = value < 0 ? 0 : value;
        // The approximation by tanh, as cuBLASLt's.
        if (description.epilogue & epilogue_gelu)
            value = 0.5f * value * (1 + std::tanh(0.7978845608f * (value + 0.044715f * value * value * value)));
        return value;
    }

    void run() const {
        if (algorithm.workspace) memset(reinterpret_cast<void*>(workspace), 0xff, algorithm.workspace);
        for (i32 batch = 0; batch < d_layout.batches; batch++) {
            for (u64 column = 0; column < d_layout.columns; column++) {
                for (u64 row = 0; row < d_layout.rows; row++) {
                    float sum = 0;
                    for (u64 k = 0; k < depth(); k++) {
                        sum += operand(a, a_layout, description.transpose_a, batch, row, k) *
                               operand(b, b_layout, description.transpose_b, batch, k, column);
                        if (algorithm.part && (k + 1) % algorithm.part == 0) sum = rounded(sum, d_layout.type);
                    }
                    float value = alpha * sum;
                    if (beta != 0)
                        value += beta * load(c, c_layout.type,
                                             batch * c_layout.batch_stride + row + column * c_layout.leading);
                    store(d, d_layout.type, batch * d_layout.batch_stride + row + column * d_layout.leading,
                          finished(value, batch, row));
                }
            }
        }
    }
};

}  // namespace

API size_t cublasLtGetVersion() { return 130000; }

API const char* cublasLtGetStatusString(Status status) {
    switch (status) {
    case Status::success: return "success";
    case Status::not_initialized: return "the library was not initialized";
    case Status::invalid_value: return "an unsupported value or parameter was passed to the function";
    case Status::execution_failed: return "the GPU program failed to execute";
    case Status::not_supported: return "the functionality requested is not supported";
    }
    return "unknown";
}

API Status cublasLtCreate(void** handle) {
    if (asked_for("does-not-start")) return Status::not_initialized;
    *handle = new char;
    return Status::success;
}

API Status cublasLtDestroy(void* handle) {
    delete static_cast<char*>(handle);
    return Status::success;
}

API Status cublasLtMatrixLayoutCreate(Layout** layout, DataType type, u64 rows, u64 columns, i64 leading) {
    if (type != DataType::f32 && type != DataType::bf16) return Status::not_supported;
    *layout = new Layout{type, rows, columns, leading};
    return Status::success;
}

API Status cublasLtMatrixLayoutSetAttribute(Layout* layout, LayoutAttribute attribute, const void* value,
                                            size_t bytes) {
    switch (attribute) {
    case layout_type: return set(layout->type, value, bytes);
    case layout_rows: return set(layout->rows, value, bytes);
    case layout_columns: return set(layout->columns, value, bytes);
    case layout_leading: return set(layout->leading, value, bytes);
    case layout_batches: return set(layout->batches, value, bytes);
    case layout_batch_stride: return set(layout->batch_stride, value, bytes);
    case layout_order: break;
    }
    return Status::not_supported;
}

API Status cublasLtMatrixLayoutDestroy(Layout* layout) {
    delete layout;
    return Status::success;
}

API Status cublasLtMatmulDescCreate(Description** description, ComputeType compute, DataType scale) {
    bool known =
        compute == ComputeType::f32 || compute == ComputeType::f32_pedantic || compute == ComputeType::f32_fast_tf32;
    if (!known || scale != DataType::f32) return Status::not_supported;
    *description = new Description{compute};
    return Status::success;
}

API Status cublasLtMatmulDescSetAttribute(Description* description, DescriptionAttribute attribute, const void* value,
                                          size_t bytes) {
    i32 transposed = 0;
    switch (attribute) {
    case pointer_mode: return set(description->pointer_mode, value, bytes);
    case transpose_a: return set(description->transpose_a, value, bytes);
    case transpose_b: return set(description->transpose_b, value, bytes);
    case transpose_c:
        if (set(transposed, value, bytes) != Status::success) return Status::invalid_value;
        return transposed ? Status::not_supported : Status::success;
    case epilogue: return set(description->epilogue, value, bytes);
    case bias_pointer: return set(description->bias, value, bytes);
    case bias_batch_stride: return set(description->bias_batch_stride, value, bytes);
    case bias_data_type: return set(description->bias_type, value, bytes);
    }
    return Status::not_supported;
}

API Status cublasLtMatmulDescDestroy(Description* description) {
    delete description;
    return Status::success;
}

API Status cublasLtMatmulPreferenceCreate(Preference** preference) {
    *preference = new Preference;
    return Status::success;
}

API Status cublasLtMatmulPreferenceSetAttribute(Preference* preference, PreferenceAttribute attribute,
                                                const void* value, size_t bytes) {
    switch (attribute) {
    case max_workspace_bytes: return set(preference->workspace, value, bytes);
    case reduction_scheme_mask: return set(preference->reductions, value, bytes);
    }
    return Status::not_supported;
}

API Status cublasLtMatmulPreferenceDestroy(Preference* preference) {
    delete preference;
    return Status::success;
}

// There is one algorithm.
API Status cublasLtMatmulAlgoGetHeuristic(void*, Description* description, Layout* a, Layout* b, Layout* c, Layout* d,
                                          Preference* preference, int count, HeuristicResult* results,
                                          int* found) {
    *found = 0;
    Product product = {*description, 1, 0, 0, 0, 0, 0, *a, *b, *c, *d, {}, 0};
    if (Status status = product.check(); status != Status::success) return status;
    if (asked_for("no-algorithm")) return Status::not_supported;
    if (count < 1) return Status::invalid_value;
    u64 part = preference->reductions & (reduction_in_place | reduction_output_type) ? 16 : 0;
    u64 workspace = preference->workspace < 1024 ? 0 : 1024;
    results[0] = {{made_here, part, workspace, {}}, workspace, Status::success, 1, {}};
    *found = 1;
    return Status::success;
}

API Status cublasLtMatmul(void*, Description* description, const float* alpha, u64 a, Layout* a_layout, u64 b,
                          Layout* b_layout, const float* beta, u64 c, Layout* c_layout, u64 d, Layout* d_layout,
                          const Algorithm* algorithm, u64 workspace, size_t workspace_bytes, void* stream) {
    if (algorithm->made_here != made_here || workspace_bytes < algorithm->workspace) return Status::not_supported;
    Product product = {*description, *alpha,    *beta,     a,          b,        c, d, *a_layout,
                       *b_layout,    *c_layout, *d_layout, *algorithm, workspace};
    if (Status status = product.check(); status != Status::success) return status;
    if (const char* matrix = product.outside()) {
        fprintf(stderr, "emulated cuBLASLt: %s is not within the device's memory\n", matrix);
        return Status::execution_failed;
    }
    auto run = [](void* state) { static_cast<Product*>(state)->run(); };
    auto destroy = [](void* state) { delete static_cast<Product*>(state); };
    return emulator_enqueue(stream, run, destroy, new Product(product)) == 0 ? Status::success
                                                                             : Status::execution_failed;
}
