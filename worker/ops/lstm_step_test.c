// Tests of op_lstm_step against the formula in double.
#include "worker/ops/lstm_step.h"

#include "common/base/bytes.h"
#include "worker/ops/ops_fixture.h"

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

// One layer over `steps` moments of one sequence. w [4 H][H]; gates and y
// [steps][..].
static void reference(double *y, const float *w, const float *gates, size_t hidden,
                      size_t steps)
{
    double *h = calloc(3 * hidden, sizeof(*h)), *next = h + hidden, *c = h + 2 * hidden;
    for (size_t t = 0; t < steps; t++) {
        for (size_t u = 0; u < hidden; u++) {
            double g[4];
            for (size_t i = 0; i < 4; i++) {
                const size_t row = i * hidden + u;
                g[i] = (double) gates[4 * t * hidden + row];
                for (size_t k = 0; k < hidden; k++)
                    g[i] += (double) w[row * hidden + k] * h[k];
            }
            c[u] = sigmoid(g[1]) * c[u] + sigmoid(g[0]) * tanh(g[2]);
            next[u] = sigmoid(g[3]) * tanh(c[u]);
            y[t * hidden + u] = next[u];
        }
        memcpy(h, next, hidden * sizeof(*h));
    }
    free(h);
}

struct layer {
    uint32_t hidden;
    float *w; // what the device sees, rounded where it is f16
    struct lstm_weights weights;
    struct lstm_state state;
};

static void layer_init(struct ops_fixture *f, struct layer *l, uint32_t hidden, bool f16,
                       bool views)
{
    const size_t n = 4 * (size_t) hidden * hidden;
    l->hidden = hidden;
    l->w = noise_array(f, n, 2 / sqrtf((float) hidden));
    uint16_t *halves = malloc(n * sizeof(*halves));
    for (size_t i = 0; f16 && i < n; i++) {
        halves[i] = half_from_float(l->w[i]);
        l->w[i] = half_to_float(halves[i]);
    }
    assert_int_equal(lstm_weights_load(&l->weights, f->device, f->arena,
                                       f16 ? (const void *) halves : l->w, hidden, f16),
                     ERR_OK);
    assert_int_equal(lstm_state_create(&l->state, f->arena, hidden), ERR_OK);
    assert_int_equal(lstm_state_clear(f->device, &l->state), ERR_OK);
    if (!views && !l->weights.columns.span.bytes) // takes the kernel of storage buffers
        l->weights.span.view = NULL;
    free(halves);
}

// `sequences` of different lengths, side by side; y starts at `before`, which
// is added to where `add` says so.
static void check(struct ops_fixture *f, const struct layer *l, uint32_t sequences, bool add)
{
    const size_t longest = 6, row = l->hidden, n = sequences * longest * row;
    float *gates = noise_array(f, 4 * n, 3), *before = noise_array(f, n, 1);
    double *want = calloc(n, sizeof(*want));
    for (size_t i = 0; i < n; i++)
        want[i] = (double) before[i];
    double *h = calloc(longest * row, sizeof(*h));
    for (uint32_t b = 0; b < sequences; b++) {
        const uint32_t steps = (uint32_t) longest - b;
        reference(h, l->w, gates + b * longest * 4 * row, l->hidden, steps);
        for (size_t i = 0; i < steps * row; i++)
            want[b * longest * row + i] = h[i] + (add ? want[b * longest * row + i] : 0);
    }
    assert_int_equal(lstm_state_clear(f->device, &l->state), ERR_OK);
    const struct span g = span_of_floats(f, gates, 4 * n), y = span_of_floats(f, before, n);
    for (uint32_t t = 0; t < longest; t++) {
        struct lstm_step step = { .w = &l->weights,
                                  .state = &l->state,
                                  .gates = g,
                                  .y = y,
                                  .sequences = sequences,
                                  .turn = t,
                                  .add = add };
        for (uint32_t b = 0; b < sequences; b++) {
            step.gates_row[b] = t < longest - b ? (uint32_t) (b * longest) + t : LSTM_NO_ROW;
            step.y_row[b] = (uint32_t) (b * longest) + t;
        }
        op_lstm_step(f->stream, &step);
    }
    assert_int_equal(stream_run(f->stream), ERR_OK);
    float *got = floats_of_span(f, y, n);
    assert_close(got, want, n, 3e-6, 0);
    free(gates), free(before), free(want), free(h), free(got);
}

static void matches_the_formula_at_awkward_sizes(void **state)
{
    static const uint32_t sizes[] = { 1, 2, 3, 8, 16, 31, 33, 48, 128, 257, 272, 1031 };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        for (uint32_t way = 0; way < 4; way++) {
            struct layer l;
            layer_init(*state, &l, sizes[i], way & 1, way & 2);
            for (uint32_t sequences = 1; sequences <= LSTM_MOST_SEQUENCES; sequences++)
                check(*state, &l, sequences, sequences & 1);
            free(l.w);
        }
}

static void large_gates_saturate(void **state)
{
    struct ops_fixture *f = *state;
    struct layer l;
    layer_init(f, &l, 4, false, true);
    float gates[16];
    for (size_t i = 0; i < 16; i++)
        gates[i] = i % 2 ? -1e4f : 1e4f;
    const struct span y = span_of_floats(f, NULL, 4);
    op_lstm_step(f->stream, &(struct lstm_step){ .w = &l.weights,
                                                 .state = &l.state,
                                                 .y = y,
                                                 .gates = span_of_floats(f, gates, 16),
                                                 .sequences = 1 });
    assert_int_equal(stream_run(f->stream), ERR_OK);
    float *got = floats_of_span(f, y, 4);
    const double one = tanh(1), want[4] = { one, 0, one, 0 };
    assert_close(got, want, 4, 1e-6, 0);
    free(got), free(l.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_formula_at_awkward_sizes),
        cmocka_unit_test(large_gates_saturate),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
