#include "common/wire/wire.h"

#include <malloc.h>
#include <math.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"

void wire_keep_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, 4 * WIRE_BULK_BYTES);
    mallopt(M_TRIM_THRESHOLD, 16 * WIRE_BULK_BYTES);
}

// What follows is read a message at a time.
// clang-format off
enum kind { KIND_BOOL, KIND_U32, KIND_U64, KIND_I64, KIND_F64, KIND_TEXT, KIND_BYTES, KIND_IDS };

// One field: where it lies in struct wire_message and what it may be.
struct field {
    const char *name;
    enum kind kind;
    size_t offset;
    uint64_t most; // of a number; of TEXT and BYTES: room in bytes
};

#define AT(member) offsetof(struct wire_message, member)
#define BOOL(name, member) { name, KIND_BOOL, AT(member), 0 }
#define U32(name, member, most) { name, KIND_U32, AT(member), most }
#define U64(name, member) { name, KIND_U64, AT(member), UINT64_MAX }
#define I64(name, member) { name, KIND_I64, AT(member), INT64_MAX }
#define F64(name, member) { name, KIND_F64, AT(member), 0 }
#define TEXT(name, member) { name, KIND_TEXT, AT(member), sizeof(((struct wire_message *) 0)->member) }
#define BYTES(name, member, most) { name, KIND_BYTES, AT(member), most }
#define IDS(name, member) { name, KIND_IDS, AT(member), WIRE_MAX_IDS }
#define END { NULL, KIND_BOOL, 0, 0 }

#define MOST_FIELDS 32
#define MOST_COLUMNS (1u << 24)
#define MOST_MS 86400000u // a day

#define JOB_FIELDS \
    U64("job", job.job), TEXT("state", job.state), TEXT("film", job.film), TEXT("output", job.output), \
    TEXT("owner", job.owner), I64("priority", job.priority), U32("segments", job.segments, UINT32_MAX), \
    U32("done", job.done, UINT32_MAX), U32("running", job.running, UINT32_MAX), \
    U32("cues", job.cues, UINT32_MAX), I64("submitted_ms", job.submitted_ms), \
    I64("ended_ms", job.ended_ms), I64("duration_ms", job.duration_ms), I64("left_ms", job.left_ms), BOOL("over", job.over), \
    BOOL("failed", job.failed), TEXT("reason", job.reason)

static const struct field envelope[] = {
    U64("seq", seq), U64("incarnation", incarnation), U64("epoch", epoch), END,
};

// The types, in one table: what each is called, where it travels, what is in it.
static const struct {
    const char *name;
    bool bulk;
    struct field fields[MOST_FIELDS];
} types[WIRE_TYPES] = {
    [WIRE_HELLO] = { "HELLO", false, {
        TEXT("name", hello.name), TEXT("device", hello.device), TEXT("vendor", hello.vendor),
        TEXT("driver", hello.driver), U64("memory", hello.memory), TEXT("software", hello.software),
        TEXT("model", hello.model.sha256), U32("sample_rate", hello.model.sample_rate, 1u << 20),
        U32("hop", hello.model.hop, 1u << 20), U32("max_duration_ms", hello.model.max_duration_ms, MOST_MS),
        F64("frames_per_s", hello.model.frames_per_s), U32("image", hello.model.image, 1u << 14),
        U32("codebooks", hello.model.codebooks, 64), F64("guidance", hello.model.guidance),
        TEXT("license", hello.model.license),
        TEXT("has", hello.has),
        U32("slots", hello.slots, WIRE_MAX_WANT), F64("rate", hello.rate), IDS("held", hello.held), END } },
    [WIRE_WELCOME] = { "WELCOME", false, {
        U32("beat_ms", welcome.beat_ms, MOST_MS), U32("lease_ms", welcome.lease_ms, MOST_MS), END } },
    [WIRE_REJECT] = { "REJECT", false, { TEXT("reason", reject.reason), END } },
    [WIRE_PULL] = { "PULL", false, { U32("want", pull.want, WIRE_MAX_WANT), END } },
    [WIRE_LEASE] = { "LEASE", false, {
        U64("attempt", lease.attempt), U64("fence", lease.fence), U64("job", lease.job),
        U32("segment", lease.segment, UINT32_MAX), U32("columns", lease.columns, MOST_COLUMNS),
        U32("prompt_columns", lease.prompt_columns, MOST_COLUMNS),
        U32("frame_count", lease.frame_count, 1u << 20), U32("lease_ms", lease.lease_ms, MOST_MS),
        U64("seed", lease.seed), F64("temperature", lease.temperature), F64("top_p", lease.top_p),
        F64("guidance", lease.guidance), U32("top_k", lease.top_k, UINT32_MAX), TEXT("key", lease.key), END } },
    [WIRE_LEASE_ACK] = { "LEASE_ACK", false, { U64("attempt", lease_ack.attempt), END } },
    [WIRE_BEAT] = { "BEAT", false, {
        U64("progress", beat.progress), F64("rate", beat.rate), IDS("held", beat.held), END } },
    [WIRE_BEAT_ACK] = { "BEAT_ACK", false, {
        U32("order", beat_ack.order, WIRE_BEAT_ORDERS - 1), IDS("cancel", beat_ack.cancel),
        IDS("renewed", beat_ack.renewed), BOOL("rehello", beat_ack.rehello), END } },
    [WIRE_CANCEL] = { "CANCEL", false, { U64("attempt", cancel.attempt), END } },
    [WIRE_CANCELLED] = { "CANCELLED", false, { U64("attempt", cancelled.attempt), END } },
    [WIRE_FAILED] = { "FAILED", false, {
        U64("attempt", failed.attempt), U64("fence", failed.fence),
        U32("class", failed.failure, WIRE_FAILURES - 1), TEXT("log_tail", failed.log_tail), END } },
    [WIRE_GOODBYE] = { "GOODBYE", false, { TEXT("reason", goodbye.reason), END } },
    [WIRE_SUBMIT] = { "SUBMIT", false, {
        TEXT("film", submit.film), TEXT("output", submit.output), TEXT("owner", submit.owner),
        I64("priority", submit.priority), TEXT("model", submit.model), BOOL("force", submit.force),
        TEXT("require", submit.require),
        I64("segment_ms", submit.segment_ms), I64("overlap_ms", submit.overlap_ms),
        I64("crossfade_ms", submit.crossfade_ms), I64("min_cue_ms", submit.min_cue_ms),
        I64("max_cue_ms", submit.max_cue_ms), BOOL("cut", submit.cut), U64("seed", submit.seed),
        F64("scene_threshold", submit.scene_threshold), F64("temperature", submit.temperature),
        F64("top_p", submit.top_p), F64("guidance", submit.guidance),
        U32("top_k", submit.top_k, UINT32_MAX), BOOL("replace_audio", submit.replace_audio),
        BOOL("keep_loudness", submit.keep_loudness), BOOL("overwrite", submit.overwrite),
        F64("target_lufs", submit.target_lufs), F64("ceiling_dbtp", submit.ceiling_dbtp),
        U32("bitrate", submit.bitrate, UINT32_MAX), TEXT("codec", submit.codec),
        TEXT("title", submit.title), TEXT("language", submit.language), END } },
    [WIRE_SUBMITTED] = { "SUBMITTED", false, {
        U64("job", submitted.job), BOOL("existed", submitted.existed), END } },
    [WIRE_LIST] = { "LIST", false, {
        U64("after", list.after), U32("most", list.most, WIRE_MAX_JOBS), BOOL("open", list.open),
        BOOL("last", list.last), END } },
    [WIRE_JOBS] = { "JOBS", false, { BYTES("rows", jobs.rows, WIRE_ROWS_BYTES), END } },
    [WIRE_SHOW] = { "SHOW", false, { U64("job", show.job), END } },
    [WIRE_JOB] = { "JOB", false, { JOB_FIELDS, TEXT("model", job.model), TEXT("license", job.license), END } },
    [WIRE_NODES] = { "NODES", false, { TEXT("name", nodes.name), BOOL("work", nodes.work),
        U32("after", nodes.after, UINT32_MAX), END } },
    [WIRE_NODE] = { "NODE", false, {
        TEXT("name", node.name), TEXT("device", node.device), TEXT("state", node.state),
        TEXT("vendor", node.vendor), TEXT("driver", node.driver), TEXT("software", node.software),
        TEXT("model", node.model), U64("memory", node.memory),
        U32("slots", node.slots, WIRE_MAX_WANT), U32("held", node.held, UINT32_MAX), F64("rate", node.rate),
        U64("done", node.done), U64("failed", node.failed), U32("troubles", node.troubles, UINT32_MAX),
        BOOL("drained", node.drained), BOOL("quarantined", node.quarantined), END } },
    [WIRE_WORK] = { "WORK", false, {
        TEXT("node", work.node), TEXT("film", work.film), U64("job", work.job), U64("attempt", work.attempt),
        U32("segment", work.segment, UINT32_MAX), U32("cue", work.cue, UINT32_MAX),
        I64("audio_ms", work.audio_ms), I64("for_ms", work.for_ms), END } },
    [WIRE_EXPLAIN] = { "EXPLAIN", false, { U64("job", explain.job), END } },
    [WIRE_LINE] = { "LINE", false, { TEXT("text", line.text), END } },
    [WIRE_LISTED] = { "LISTED", false, { BOOL("more", listed.more), U64("count", listed.count), END } },
    [WIRE_ORDER] = { "ORDER", false, {
        U64("job", order.job), U32("what", order.what, WIRE_JOB_ORDERS - 1), I64("value", order.value), END } },
    [WIRE_LOGS] = { "LOGS", false, {
        U64("job", logs.job), U64("after", logs.after), U32("most", logs.most, 1000), END } },
    [WIRE_EVENT] = { "EVENT", false, {
        U64("attempt", event.attempt), U32("segment", event.segment, UINT32_MAX), TEXT("worker", event.worker),
        TEXT("outcome", event.outcome), I64("leased_ms", event.leased_ms), I64("ended_ms", event.ended_ms),
        TEXT("detail", event.detail), END } },
    [WIRE_QUEUE] = { "QUEUE", false, { U32("what", queue.what, WIRE_QUEUE_ORDERS - 1), END } },
    [WIRE_QUEUE_IS] = { "QUEUE_IS", false, {
        BOOL("disabled", queue_is.disabled), BOOL("stopped", queue_is.stopped), END } },
    [WIRE_LEDGER] = { "LEDGER", false, {
        U32("what", ledger.what, WIRE_LEDGER_ORDERS - 1), I64("before_ms", ledger.before_ms), END } },
    [WIRE_LEDGER_DONE] = { "LEDGER_DONE", false, {
        TEXT("path", ledger_done.path), U32("count", ledger_done.count, UINT32_MAX),
        BOOL("more", ledger_done.more), END } },
    [WIRE_NODE_ORDER] = { "NODE_ORDER", false, {
        TEXT("name", node_order.name), U32("what", node_order.what, WIRE_NODE_ORDERS - 1), END } },
    [WIRE_OBEYED] = { "OBEYED", false, { U64("job", obeyed.job), END } },
    [WIRE_CONFIG] = { "CONFIG", false, { U32("what", config.what, WIRE_CONFIG_ORDERS - 1), END } },
    [WIRE_USE] = { "USE", false, { TEXT("model", use.model), U64("bytes", use.bytes), END } },
    [WIRE_FETCH_MODEL] = { "FETCH_MODEL", true, {
        TEXT("model", fetch_model.model), U64("off", fetch_model.off), END } },
    [WIRE_FETCH] = { "FETCH", true, {
        U64("attempt", fetch.attempt), U32("what", fetch.what, WIRE_WHATS - 1), U64("off", fetch.off), END } },
    [WIRE_OPEN] = { "OPEN", true, {
        U64("attempt", open.attempt), U64("fence", open.fence), U64("bytes", open.bytes), END } },
    [WIRE_CREDITS] = { "CREDIT", true, {
        U64("attempt", credits.attempt), U32("chunks", credits.chunks, WIRE_CREDIT), END } },
    [WIRE_CHUNK] = { "CHUNK", true, {
        U64("attempt", chunk.attempt), U32("what", chunk.what, WIRE_WHATS - 1), U64("off", chunk.off),
        U32("crc32c", chunk.crc32c, UINT32_MAX), BYTES("data", chunk.data, WIRE_CHUNK_BYTES), END } },
    [WIRE_COMMIT] = { "COMMIT", true, {
        U64("attempt", commit.attempt), U64("fence", commit.fence), U64("bytes", commit.bytes),
        U32("crc32c", commit.crc32c, UINT32_MAX), END } },
    [WIRE_ACCEPTED] = { "ACCEPTED", true, { U64("attempt", accepted.attempt), END } },
    [WIRE_STALE] = { "STALE", true, { U64("attempt", stale.attempt), END } },
    [WIRE_DUP] = { "DUP", true, { U64("attempt", dup.attempt), END } },
    [WIRE_CORRUPT] = { "CORRUPT", true, {
        U64("attempt", corrupt.attempt), U64("from", corrupt.from), END } },
    [WIRE_NOSPACE] = { "NOSPACE", true, {
        U64("attempt", nospace.attempt), U32("retry_after_ms", nospace.retry_after_ms, MOST_MS), END } },
};
// clang-format on

const char *wire_type_name(enum wire_type t)
{
    return types[t].name;
}

const char *wire_failure_name(enum wire_failure f)
{
    static const char *const names[WIRE_FAILURES] = {
        [WIRE_FAIL_INPUT] = "input",
        [WIRE_FAIL_OOM] = "oom",
        [WIRE_FAIL_DEVICE_LOST] = "device_lost",
        [WIRE_FAIL_LOST] = "lost",
        [WIRE_FAIL_SHUTDOWN] = "shutdown",
    };
    return names[f];
}

bool wire_is_bulk(enum wire_type t)
{
    return types[t].bulk;
}

size_t wire_most_bytes(enum wire_type t)
{
    return types[t].bulk ? WIRE_BULK_BYTES : WIRE_CONTROL_BYTES;
}

static size_t count_fields(const struct field *f)
{
    size_t n = 0;
    while (f[n].name)
        n++;
    return n;
}

static void pack_text(msgpack_packer *to, const char *text)
{
    const size_t n = strlen(text);
    msgpack_pack_str(to, n);
    msgpack_pack_str_body(to, text, n);
}

static void pack_ids(msgpack_packer *to, const struct wire_ids *ids)
{
    msgpack_pack_array(to, ids->count);
    for (uint32_t i = 0; i < ids->count; i++)
        msgpack_pack_uint64(to, ids->id[i]);
}

// False: the value is not one the other side would take.
static bool pack_value(msgpack_packer *to, const struct field *f, const void *p)
{
    switch (f->kind) {
    case KIND_BOOL:
        *(const bool *) p ? msgpack_pack_true(to) : msgpack_pack_false(to);
        return true;
    case KIND_U32:
        msgpack_pack_uint32(to, *(const uint32_t *) p);
        return *(const uint32_t *) p <= f->most;
    case KIND_U64: msgpack_pack_uint64(to, *(const uint64_t *) p); return true;
    case KIND_I64: msgpack_pack_int64(to, *(const int64_t *) p); return true;
    case KIND_F64:
        msgpack_pack_double(to, *(const double *) p);
        return isfinite(*(const double *) p);
    case KIND_TEXT:
        if (strnlen(p, f->most) == f->most)
            return false;
        pack_text(to, p);
        return true;
    case KIND_BYTES: {
        const struct wire_bytes *b = p;
        msgpack_pack_bin(to, b->bytes);
        msgpack_pack_bin_body(to, b->data, b->bytes);
        return b->bytes <= f->most;
    }
    case KIND_IDS: {
        const struct wire_ids *ids = p;
        if (ids->count > f->most)
            return false;
        pack_ids(to, ids);
        return true;
    }
    }
    return false;
}

static const struct field *pack_fields(msgpack_packer *to, const struct field *f,
                                       const struct wire_message *m)
{
    for (; f->name; f++) {
        pack_text(to, f->name);
        if (!pack_value(to, f, (const char *) m + f->offset))
            return f;
    }
    return NULL;
}

enum err wire_encode(uint8_t **out, size_t *bytes, const struct wire_message *m)
{
    *out = NULL;
    msgpack_sbuffer buffer;
    msgpack_sbuffer_init(&buffer);
    msgpack_packer to;
    msgpack_packer_init(&to, &buffer, msgpack_sbuffer_write);
    const struct field *fields = types[m->type].fields;
    msgpack_pack_map(&to, 2 + count_fields(envelope) + count_fields(fields));
    pack_text(&to, "v");
    msgpack_pack_uint32(&to, WIRE_VERSION);
    pack_text(&to, "type");
    pack_text(&to, types[m->type].name);
    const struct field *wrong = pack_fields(&to, envelope, m);
    if (!wrong)
        wrong = pack_fields(&to, fields, m);
    if (wrong || buffer.size > wire_most_bytes(m->type)) {
        log_error("a %s cannot be sent: %s", types[m->type].name,
                  wrong ? wrong->name : "too large");
        msgpack_sbuffer_destroy(&buffer);
        return ERR_BUG;
    }
    *bytes = buffer.size;
    *out = (uint8_t *) msgpack_sbuffer_release(&buffer);
    return *out ? ERR_OK : ERR_NOMEM;
}

// How many bytes follow the lead byte itself, and how many items those then
// hold, for the forms whose size is written in the lead byte.
struct form {
    uint8_t length_bytes; // big-endian, after the lead byte
    uint8_t fixed;        // payload bytes when there is no length
    uint8_t items;        // items per unit of length: 0 payload bytes, 1 array, 2 map
    bool known;
};

static struct form form_of(uint8_t lead)
{
    switch (lead) {
    case 0xc0:
    case 0xc2:
    case 0xc3: return (struct form){ 0, 0, 0, true };
    case 0xc4:
    case 0xd9: return (struct form){ 1, 0, 0, true };
    case 0xc5:
    case 0xda: return (struct form){ 2, 0, 0, true };
    case 0xc6:
    case 0xdb: return (struct form){ 4, 0, 0, true };
    case 0xcc:
    case 0xd0: return (struct form){ 0, 1, 0, true };
    case 0xcd:
    case 0xd1: return (struct form){ 0, 2, 0, true };
    case 0xca:
    case 0xce:
    case 0xd2: return (struct form){ 0, 4, 0, true };
    case 0xcb:
    case 0xcf:
    case 0xd3: return (struct form){ 0, 8, 0, true };
    case 0xdc: return (struct form){ 2, 0, 1, true };
    case 0xdd: return (struct form){ 4, 0, 1, true };
    case 0xde: return (struct form){ 2, 0, 2, true };
    case 0xdf: return (struct form){ 4, 0, 2, true };
    default: return (struct form){ 0 }; // extension types, and the one code never used
    }
}

// The bytes of the first item, whose containers promise no more than what is there; 0: there
// is none such. The library makes room for what a header promises before it looks.
static size_t sound_item(const uint8_t *p, size_t bytes)
{
    uint64_t wanted = 1; // items still to come
    size_t at = 0;
    while (wanted > 0) {
        if (at >= bytes)
            return 0;
        const uint8_t lead = p[at++];
        uint64_t payload = 0, items = 0;
        if (lead <= 0x7f || lead >= 0xe0) {
            // a small number, all in the lead byte
        } else if (lead <= 0x8f) {
            items = 2ull * (lead & 15u);
        } else if (lead <= 0x9f) {
            items = lead & 15u;
        } else if (lead <= 0xbf) {
            payload = lead & 31u;
        } else {
            const struct form f = form_of(lead);
            if (!f.known || bytes - at < f.length_bytes)
                return 0;
            uint64_t length = 0;
            for (uint8_t i = 0; i < f.length_bytes; i++)
                length = length << 8 | p[at++];
            payload = f.items ? 0 : length + f.fixed;
            items = f.items * length;
        }
        if (payload > bytes - at)
            return 0;
        at += (size_t) payload;
        wanted += items - 1;
        if (wanted > bytes - at)
            return 0;
    }
    return at;
}

static bool is_text(const msgpack_object *o, const char *text)
{
    return o->type == MSGPACK_OBJECT_STR && o->via.str.size == strlen(text) &&
           memcmp(o->via.str.ptr, text, o->via.str.size) == 0;
}

// The value of a key; NULL: it is not there. `guess` is where it probably is. As there are no
// more fields than keys that are looked for, none is there twice unless one is missing.
static const msgpack_object *value_of(const msgpack_object_map *map, const char *key,
                                      uint32_t guess)
{
    if (guess < map->size && is_text(&map->ptr[guess].key, key))
        return &map->ptr[guess].val;
    for (uint32_t i = 0; i < map->size; i++)
        if (is_text(&map->ptr[i].key, key))
            return &map->ptr[i].val;
    return NULL;
}

static bool take_ids(struct wire_ids *out, const msgpack_object *o, uint64_t most)
{
    if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size > most)
        return false;
    out->count = o->via.array.size;
    for (uint32_t i = 0; i < out->count; i++) {
        if (o->via.array.ptr[i].type != MSGPACK_OBJECT_POSITIVE_INTEGER)
            return false;
        out->id[i] = o->via.array.ptr[i].via.u64;
    }
    return true;
}

static bool take_text(char *out, const msgpack_object *o, uint64_t room)
{
    if (o->type != MSGPACK_OBJECT_STR || o->via.str.size >= room ||
        memchr(o->via.str.ptr, 0, o->via.str.size))
        return false;
    memcpy(out, o->via.str.ptr, o->via.str.size);
    out[o->via.str.size] = 0;
    return true;
}

static bool take_i64(int64_t *out, const msgpack_object *o)
{
    if (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) {
        *out = o->via.i64;
        return true;
    }
    if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER || o->via.u64 > INT64_MAX)
        return false;
    *out = (int64_t) o->via.u64;
    return true;
}

static bool take_value(void *p, const struct field *f, const msgpack_object *o)
{
    switch (f->kind) {
    case KIND_BOOL:
        if (o->type != MSGPACK_OBJECT_BOOLEAN)
            return false;
        *(bool *) p = o->via.boolean;
        return true;
    case KIND_U32:
        if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER || o->via.u64 > f->most)
            return false;
        *(uint32_t *) p = (uint32_t) o->via.u64;
        return true;
    case KIND_U64:
        if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
            return false;
        *(uint64_t *) p = o->via.u64;
        return true;
    case KIND_I64: return take_i64(p, o);
    case KIND_F64:
        if (o->type != MSGPACK_OBJECT_FLOAT64 || !isfinite(o->via.f64))
            return false;
        *(double *) p = o->via.f64;
        return true;
    case KIND_TEXT: return take_text(p, o, f->most);
    case KIND_BYTES:
        if (o->type != MSGPACK_OBJECT_BIN || o->via.bin.size > f->most)
            return false;
        *(struct wire_bytes *) p =
            (struct wire_bytes){ (const uint8_t *) o->via.bin.ptr, o->via.bin.size };
        return true;
    case KIND_IDS: return take_ids(p, o, f->most);
    }
    return false;
}

// What is wrong, or NULL. They begin at about `guess`.
static const char *take_fields(struct wire_message *m, const struct field *f,
                               const msgpack_object_map *map, uint32_t guess)
{
    for (; f->name; f++) {
        const msgpack_object *o = value_of(map, f->name, guess++);
        if (!o)
            return "a field is missing or doubled";
        if (!take_value((char *) m + f->offset, f, o))
            return "a field is of another type or out of range";
    }
    return NULL;
}

static const char *take_message(struct wire_message *m, const msgpack_object_map *map,
                                size_t bytes)
{
    const msgpack_object *v = value_of(map, "v", 0), *type = value_of(map, "type", 1);
    if (!v || v->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return "it has no version";
    if (v->via.u64 != WIRE_VERSION)
        return WIRE_OTHER_VERSION;
    int t = 0;
    while (type && t < WIRE_TYPES && !is_text(type, types[t].name))
        t++;
    if (!type || t == WIRE_TYPES)
        return "its type is not known";
    m->type = (enum wire_type) t;
    if (bytes > wire_most_bytes(m->type))
        return "too large for its type";
    if (map->size != 2 + count_fields(envelope) + count_fields(types[t].fields))
        return "a field too many or too few";
    const char *why = take_fields(m, envelope, map, 2);
    return why ? why
               : take_fields(m, types[t].fields, map, 2 + (uint32_t) count_fields(envelope));
}

bool wire_is_later(const char *reason)
{
    const size_t n = strlen(reason), ending = strlen(WIRE_LATER);
    return n >= ending && !strcmp(reason + n - ending, WIRE_LATER);
}

enum err wire_decode(struct wire_message *out, const void *data, size_t bytes, const char **why)
{
    *why = "not a map";
    if (bytes == 0 || bytes > WIRE_BULK_BYTES || sound_item(data, bytes) != bytes)
        return ERR_INPUT;
    msgpack_unpacked u;
    size_t at = 0;
    msgpack_unpacked_init(&u);
    const msgpack_unpack_return r = msgpack_unpack_next(&u, data, bytes, &at);
    if (r == MSGPACK_UNPACK_SUCCESS && u.data.type == MSGPACK_OBJECT_MAP)
        *why = take_message(out, &u.data.via.map, bytes);
    msgpack_unpacked_destroy(&u);
    return *why ? ERR_INPUT : ERR_OK;
}

// Rows

static const struct field job_fields[] = { JOB_FIELDS, END };
#define ROW_VALUES (sizeof(job_fields) / sizeof(job_fields[0]) - 1)
_Static_assert(sizeof(struct wire_job) + 16 * ROW_VALUES < WIRE_ROWS_BYTES,
               "a job may not fit into a JOBS");

static size_t in_job(const struct field *f)
{
    return f->offset - offsetof(struct wire_message, job);
}

struct rows {
    uint8_t *at;
    size_t bytes;
    bool full;
};

static int write_row(void *user, const char *data, size_t bytes)
{
    struct rows *r = user;
    r->full = r->full || bytes > WIRE_ROWS_BYTES - r->bytes;
    if (r->full)
        return -1;
    memcpy(r->at + r->bytes, data, bytes);
    r->bytes += bytes;
    return 0;
}

bool wire_add_row(uint8_t rows[WIRE_ROWS_BYTES], uint32_t *bytes, const struct wire_job *j)
{
    struct rows r = { rows, *bytes, false };
    msgpack_packer to;
    msgpack_packer_init(&to, &r, write_row);
    msgpack_pack_array(&to, ROW_VALUES);
    for (const struct field *f = job_fields; f->name; f++)
        if (!pack_value(&to, f, (const char *) j + in_job(f)))
            return false;
    if (!r.full)
        *bytes = (uint32_t) r.bytes;
    return !r.full;
}

enum err wire_take_row(struct wire_job *out, struct wire_bytes *rows)
{
    const size_t bytes = sound_item(rows->data, rows->bytes);
    msgpack_unpacked u;
    size_t at = 0;
    bool good = false;
    msgpack_unpacked_init(&u);
    if (bytes &&
        msgpack_unpack_next(&u, (const char *) rows->data, bytes, &at) ==
            MSGPACK_UNPACK_SUCCESS &&
        u.data.type == MSGPACK_OBJECT_ARRAY && u.data.via.array.size == ROW_VALUES) {
        good = true;
        for (size_t i = 0; good && i < ROW_VALUES; i++)
            good = take_value((char *) out + in_job(&job_fields[i]), &job_fields[i],
                              &u.data.via.array.ptr[i]);
    }
    msgpack_unpacked_destroy(&u);
    rows->data += bytes;
    rows->bytes -= (uint32_t) bytes;
    return good ? ERR_OK : ERR_INPUT;
}
