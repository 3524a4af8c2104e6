#include "worker/model/codec_half.h"

#include <assert.h>

#include "common/base/bytes.h"
#include "common/base/log.h"

// --- Sizes ------------------------------------------------------------------

#define MOST_CHUNK_COLUMNS 512

static uint32_t greater(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static struct range rows_of(struct range columns, uint32_t rows)
{
    return (struct range){ columns.lo * (int32_t) rows, columns.hi * (int32_t) rows };
}

// A signal so long that its middle knows nothing of its ends.
struct middle {
    int32_t total, column;
};

static struct middle middle_of(const struct codec_shape *shape)
{
    const int32_t rows = (int32_t) greater(shape->input_rows, shape->output_rows);
    const int32_t total = INT32_MAX / 4 / rows;
    return (struct middle){ total, total / 2 };
}

// Columns that reflections at a signal's ends may add to what a range depends
// on. `rows`: of the input, a column.
static uint32_t edge_of(const struct seanet *n, uint32_t rows)
{
    uint32_t edge = 0;
    for (uint32_t i = 0; i < n->count; i++) {
        const struct conv *v = &n->layers[i].first;
        edge += (v->kernel + rows - 1) / rows;
        rows = rows / v->stride * v->up;
    }
    return edge;
}

static void measure_chunk(const struct codec_shape *shape, int32_t chunk, struct codec_sizes *z)
{
    const struct middle m = middle_of(shape);
    const uint32_t edge =
        greater(edge_of(&shape->front, shape->input_rows), edge_of(&shape->back, 1));
    const struct range columns = { m.column, m.column + chunk + (int32_t) edge };
    const struct range out = rows_of(columns, shape->output_rows);
    const int32_t length = m.total * (int32_t) shape->input_rows;
    z->chunk = chunk;
    z->scratch = (struct seanet_room){ 0 };
    seanet_measure(&shape->front, columns, length, &z->scratch);
    seanet_measure(&shape->back, out, m.total, &z->scratch);
    const struct range input = seanet_needs(&shape->front, columns, length);
    z->input = (uint32_t) (input.hi - input.lo);
    const struct range seen = seanet_needs(&shape->back, out, m.total);
    z->lag = seen.hi - columns.hi;
    z->room = (uint32_t) (seen.hi - seen.lo + z->lag);
}

static uint64_t largest(const struct codec_shape *shape, const struct codec_sizes *z)
{
    const uint64_t gates = 4ull * shape->slots * (uint32_t) z->chunk * shape->hidden;
    const uint64_t n =
        z->scratch.rows > z->scratch.padded ? z->scratch.rows : z->scratch.padded;
    return n > gates ? n : gates;
}

struct codec_sizes codec_half_measure(const struct codec_shape *shape, uint32_t chunk_columns)
{
    struct codec_sizes z;
    int32_t chunk = MOST_CHUNK_COLUMNS;
    if (chunk_columns)
        chunk =
            chunk_columns < MOST_CHUNK_COLUMNS ? (int32_t) chunk_columns : MOST_CHUNK_COLUMNS;
    for (measure_chunk(shape, chunk, &z);
         chunk > 1 && largest(shape, &z) > CODEC_CHUNK_FLOATS;) {
        chunk -= (chunk + 7) / 8;
        measure_chunk(shape, chunk, &z);
    }
    return z;
}

static uint64_t columns_floats(const struct codec_shape *shape, const struct codec_sizes *z)
{
    return ((uint64_t) shape->slots * z->room + 1) * shape->hidden;
}

// An arena's last block may be half empty.
uint64_t codec_half_bytes(const struct codec_shape *shape, const struct codec_sizes *z,
                          bool f16, uint64_t more)
{
    const uint64_t block = 64ull << 20;
    const uint64_t weights = seanet_weights_bytes(&shape->front, f16) +
                             seanet_weights_bytes(&shape->back, f16) +
                             codec_lstm_weights_bytes(shape->lstm_layers, shape->hidden, f16);
    const uint64_t floats = z->scratch.rows + z->scratch.padded + z->scratch.hidden +
                            2 * columns_floats(shape, z) +
                            (uint64_t) z->input * shape->input_channels;
    const uint64_t scratch =
        codec_lstm_scratch_bytes(shape->lstm_layers, shape->hidden, (uint32_t) z->chunk) +
        4 * floats;
    return round_up(weights, block) + round_up(scratch + more, block);
}

// --- Opening ----------------------------------------------------------------

enum err codec_half_alloc(struct codec_half *h, struct arena *a, uint64_t floats,
                          struct span *out)
{
    const struct device_facts *facts = device_facts(h->device);
    const unsigned long long bytes = 4 * floats;
    if (bytes > facts->max_storage_range) {
        log_error("%s: %llu bytes at once are more than %s can bind (%llu)", h->shape.name,
                  bytes, facts->name, (unsigned long long) facts->max_storage_range);
        return ERR_DEVICE_MEM;
    }
    const enum err e = arena_alloc_texels(a, bytes, out);
    return e ? e : span_zero(h->device, *out);
}

static enum err load(struct codec_half *h, struct tensor_source *source)
{
    const struct codec_shape *shape = &h->shape;
    enum err e = seanet_load(&h->shape.front, h->device, h->weights, source);
    if (!e)
        e = codec_lstm_load(&h->lstm, h->device, h->weights, source, shape->lstm,
                            shape->lstm_layers, shape->hidden);
    return e ? e : seanet_load(&h->shape.back, h->device, h->weights, source);
}

static enum err make_room(struct codec_half *h, bool input_shared)
{
    const struct codec_sizes *z = &h->sizes;
    enum err e = codec_lstm_make_room(&h->lstm, h->scratch, (uint32_t) z->chunk);
    if (!e)
        e = codec_half_alloc(h, input_shared ? h->shared : h->scratch,
                             (uint64_t) z->input * h->shape.input_channels, &h->input);
    for (int i = 0; !e && i < 2; i++)
        e = codec_half_alloc(h, h->scratch, columns_floats(&h->shape, z), &h->columns[i]);
    if (!e)
        e = codec_half_alloc(h, h->scratch, z->scratch.rows, &h->buffers.rows);
    if (!e)
        e = codec_half_alloc(h, h->scratch, z->scratch.padded, &h->buffers.padded);
    if (!e && z->scratch.hidden)
        e = codec_half_alloc(h, h->scratch, z->scratch.hidden, &h->buffers.hidden);
    return e;
}

enum err codec_half_open(struct codec_half *h, const struct codec_params *p, bool input_shared)
{
    h->device = p->device;
    h->sizes = codec_half_measure(&h->shape, p->chunk_columns);
    enum err e = stream_create(&h->stream, h->device);
    if (e)
        return e;
    stream_label(h->stream, h->shape.name);
    e = arena_create(&h->weights, h->device, MEMORY_DEVICE, h->shape.name);
    if (!e)
        e = arena_create(&h->scratch, h->device, MEMORY_DEVICE, h->shape.name);
    if (!e)
        e = arena_create(&h->shared, h->device, MEMORY_SHARED, h->shape.name);
    if (!e)
        e = load(h, p->source);
    if (!e)
        e = make_room(h, input_shared);
    if (!e && p->probe)
        e = codec_watch_create(&h->watch, h->stream, h->shape.front.half, p->probe);
    return e;
}

void codec_half_close(struct codec_half *h)
{
    codec_watch_destroy(&h->watch);
    stream_destroy(&h->stream);
    arena_destroy(&h->shared);
    arena_destroy(&h->scratch);
    arena_destroy(&h->weights);
    *h = (struct codec_half){ 0 };
}

// --- Running ----------------------------------------------------------------

static int32_t least(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

// A run's slot in one of the two buffers, whose row 0 is its column `first`.
static struct signal slot_of(const struct codec_half *h, uint32_t which, uint32_t slot,
                             int32_t first)
{
    return (struct signal){ .span = h->columns[which],
                            .first = first,
                            .offset = slot * h->sizes.room * h->shape.hidden };
}

// Rows of H floats from one signal to another.
static void copy_rows(struct codec_half *h, const struct signal *from, const struct signal *to,
                      struct range rows)
{
    const uint64_t row = 4ull * h->shape.hidden;
    const uint64_t bytes = (uint64_t) (rows.hi - rows.lo) * row;
    if (rows.lo >= rows.hi)
        return;
    stream_copy(h->stream,
                span_slice(from->span,
                           4ull * from->offset + (uint64_t) (rows.lo - from->first) * row,
                           bytes),
                span_slice(to->span, 4ull * to->offset + (uint64_t) (rows.lo - to->first) * row,
                           bytes));
}

// The next columns of a run through the front, into its slot.
static enum err run_front(struct codec_half *h, struct codec_run *run, uint32_t which,
                          uint32_t slot, struct range columns, const struct codec_ends *ends)
{
    const struct range needed = seanet_needs(&h->shape.front, columns, run->input_length);
    assert((uint32_t) (needed.hi - needed.lo) <= h->sizes.input);
    const enum err e = ends->feed(h, run, slot, needed);
    if (e)
        return e;
    const struct signal in = { .span = h->input, .first = needed.lo };
    const struct signal at =
        seanet_run(h->stream, &h->shape.front, &h->buffers, in, run->input_length, columns,
                   codec_watch_layers(h->watch));
    const struct signal to = slot_of(h, which, slot, run->first);
    copy_rows(h, &at, &to, columns);
    return ERR_OK;
}

// Everything that the back can give now.
static enum err run_back(struct codec_half *h, struct codec_run *run, uint32_t which,
                         uint32_t slot, const struct codec_ends *ends)
{
    const int32_t end = run->fed == run->columns ? run->columns : run->fed - h->sizes.lag;
    const struct signal in = slot_of(h, which, slot, run->first);
    enum err e = ERR_OK;
    while (!e && run->done < end) {
        const struct range columns = { run->done, least(end, run->done + h->sizes.chunk) };
        const struct signal at =
            seanet_run(h->stream, &h->shape.back, &h->buffers, in, run->columns,
                       rows_of(columns, h->shape.output_rows), codec_watch_layers(h->watch));
        e = ends->take(h, run, columns, &at);
        run->done = columns.hi;
    }
    return e;
}

// Move the columns that the back will look at again to the other buffer.
static void keep(struct codec_half *h, struct codec_run *run, uint32_t which, uint32_t slot)
{
    const struct range left =
        rows_of((struct range){ run->done, run->columns }, h->shape.output_rows);
    const struct range kept = {
        least(seanet_needs(&h->shape.back, left, run->columns).lo, run->fed), run->fed
    };
    assert(kept.lo >= run->first);
    assert((uint32_t) (kept.hi - kept.lo + h->sizes.chunk) <= h->sizes.room);
    const struct signal from = slot_of(h, which, slot, run->first);
    const struct signal to = slot_of(h, 1 - which, slot, kept.lo);
    copy_rows(h, &from, &to, kept);
    run->first = kept.lo;
}

static enum err run_chunk(struct codec_half *h, struct codec_run *runs, uint32_t count,
                          uint32_t which, const struct codec_ends *ends)
{
    struct codec_lstm_run blocks[LSTM_MOST_SEQUENCES];
    const int32_t turn = runs[0].fed; // the same for all
    enum err e = ERR_OK;
    for (uint32_t i = 0; !e && i < count; i++) {
        const struct range columns = { turn, least(turn + h->sizes.chunk, runs[i].columns) };
        blocks[i] = (struct codec_lstm_run){
            .row = i * h->sizes.room + (uint32_t) (turn - runs[i].first),
            .count = (uint32_t) (columns.hi - columns.lo),
        };
        runs[i].fed = columns.hi;
        e = run_front(h, &runs[i], which, i, columns, ends);
    }
    if (e)
        return e;
    codec_lstm_step(h->stream, &h->lstm, h->columns[which], blocks, count, (uint32_t) turn);
    for (uint32_t i = 0; !e && i < count; i++) {
        const struct signal at = slot_of(h, which, i, runs[i].first);
        codec_watch_see(h->watch, h->shape.lstm_output, h->shape.hidden, &at,
                        (struct range){ turn, runs[i].fed }, runs[i].columns);
        e = run_back(h, &runs[i], which, i, ends);
        if (!e && runs[i].fed < runs[i].columns)
            keep(h, &runs[i], which, i);
    }
    return e ? e : stream_run(h->stream);
}

enum err codec_half_run(struct codec_half *h, struct codec_run *runs, uint32_t count,
                        const struct codec_ends *ends)
{
    assert(count <= h->shape.slots);
    for (uint32_t i = 0; i < count; i++)
        runs[i].fed = runs[i].done = runs[i].first = 0;
    codec_watch_begin(h->watch);
    enum err e = codec_lstm_clear(&h->lstm, h->device);
    for (uint32_t which = 0; !e; which = 1 - which) {
        while (count > 0 && runs[count - 1].fed == runs[count - 1].columns)
            count--;
        if (count == 0)
            break;
        e = run_chunk(h, runs, count, which, ends);
    }
    if (e) // what is half recorded is of no use
        stream_reset(h->stream);
    return e ? e : codec_watch_show(h->watch);
}
