#include "worker/weights/pickle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/log.h"

// Generous: the pickle of a published model is 0.3 MB, has 40,000 values and
// 20,000 memo entries.
#define PICKLE_MAX_BYTES (16u << 20)
#define ARENA_MAX_BYTES (256u << 20)
#define STACK_MAX (1u << 20)
#define MARKS_MAX (1u << 16)
#define MEMO_MAX (1u << 20)
#define BLOCK_BYTES (64u << 10)

struct block {
    struct block *next;
    uint64_t used, room;
    _Alignas(16) uint8_t bytes[];
};

struct pickle {
    struct block *blocks; // every value lives in one
    uint64_t held;        // bytes of all blocks
    const struct pickle_value *root;
};

struct parser {
    struct pickle *p;
    const char *name;
    const uint8_t *at, *end, *start;
    struct pickle_value **stack;
    uint32_t depth, stack_room;
    uint32_t *marks; // depths of the stack
    uint32_t mark_count, mark_room;
    struct pickle_value **memo; // NULL where nothing was put
    uint32_t memo_room;
    uint32_t memoized; // by MEMOIZE, which counts
    bool stopped;
};

static enum err refuse(const struct parser *s, const char *why)
{
    log_error("%s: not a checkpoint this program reads: %s (byte %llu of its pickle)", s->name,
              why, (unsigned long long) (s->at - s->start));
    return ERR_INPUT;
}

// The same with a number after the reason.
static enum err refuse_number(const struct parser *s, const char *why, uint64_t n)
{
    char text[96];
    snprintf(text, sizeof(text), "%s %llu", why, (unsigned long long) n);
    return refuse(s, text);
}

static enum err refuse_name(const struct parser *s, const char *why, const char *name)
{
    char text[256];
    snprintf(text, sizeof(text), "%s %s, which no state dict needs", why, name);
    return refuse(s, text);
}

static enum err out_of_memory(const struct parser *s)
{
    log_error("%s: out of memory", s->name);
    return ERR_NOMEM;
}

// ---- memory

static enum err reserve(struct parser *s, uint64_t bytes, void **out)
{
    struct pickle *p = s->p;
    bytes = round_up(bytes, 16);
    if (!p->blocks || p->blocks->room - p->blocks->used < bytes) {
        const uint64_t room = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
        if (room > ARENA_MAX_BYTES - p->held)
            return refuse(s, "it needs more memory than any state dict");
        struct block *b = malloc(sizeof(*b) + room);
        if (!b)
            return out_of_memory(s);
        *b = (struct block){ .next = p->blocks, .room = room };
        p->blocks = b;
        p->held += room;
    }
    *out = p->blocks->bytes + p->blocks->used;
    p->blocks->used += bytes;
    memset(*out, 0, bytes);
    return ERR_OK;
}

// Room for one more element of a heap array, up to a limit.
static enum err grow(struct parser *s, void *array, uint32_t count, uint32_t *room,
                     uint32_t limit, size_t element, const char *what)
{
    if (count < *room)
        return ERR_OK;
    if (count >= limit)
        return refuse_number(s, what, limit);
    uint32_t wanted = *room ? 2 * *room : 256;
    if (wanted <= count)
        wanted = count + 1;
    if (wanted > limit)
        wanted = limit;
    void **pointer = array;
    void *bigger = realloc(*pointer, wanted * element);
    if (!bigger)
        return out_of_memory(s);
    memset((uint8_t *) bigger + *room * element, 0, (wanted - *room) * element);
    *pointer = bigger;
    *room = wanted;
    return ERR_OK;
}

// ---- the stack

static enum err grow_stack(struct parser *s)
{
    return grow(s, &s->stack, s->depth, &s->stack_room, STACK_MAX, sizeof(*s->stack),
                "more values on its stack than");
}

static enum err push(struct parser *s, struct pickle_value *v)
{
    const enum err e = grow_stack(s);
    if (!e)
        s->stack[s->depth++] = v;
    return e;
}

static enum err push_new(struct parser *s, struct pickle_value value)
{
    void *v = NULL;
    const enum err e = reserve(s, sizeof(value), &v);
    if (e)
        return e;
    *(struct pickle_value *) v = value;
    return push(s, v);
}

// The lowest place on the stack above the last mark.
static uint32_t floor_of(const struct parser *s)
{
    return s->mark_count ? s->marks[s->mark_count - 1] : 0;
}

static enum err pop(struct parser *s, struct pickle_value **out)
{
    *out = NULL;
    if (s->depth == floor_of(s))
        return refuse(s, "its stack is empty");
    *out = s->stack[--s->depth];
    return ERR_OK;
}

static enum err top(struct parser *s, enum pickle_kind kind, struct pickle_value **out)
{
    *out = NULL;
    if (s->depth == floor_of(s) || s->stack[s->depth - 1]->kind != kind)
        return refuse(s, "an instruction finds a value of the wrong kind");
    *out = s->stack[s->depth - 1];
    return ERR_OK;
}

// Everything above the last mark, which goes with it.
static enum err pop_mark(struct parser *s, struct pickle_value ***items, uint32_t *count)
{
    *items = NULL;
    *count = 0;
    if (s->mark_count == 0)
        return refuse(s, "a mark is missing");
    const uint32_t floor = s->marks[--s->mark_count];
    *items = s->stack + floor;
    *count = s->depth - floor;
    s->depth = floor;
    return ERR_OK;
}

static enum err append(struct parser *s, struct pickle_value *list,
                       struct pickle_value *const *items, uint32_t count)
{
    if (count > list->list.room - list->list.count) {
        const uint32_t room = 2 * (list->list.count + count); // both are below 2^25
        void *bigger;
        const enum err e = reserve(s, room * sizeof(*list->list.items), &bigger);
        if (e)
            return e;
        if (list->list.count)
            memcpy(bigger, list->list.items, list->list.count * sizeof(*list->list.items));
        list->list.items = bigger;
        list->list.room = room;
    }
    for (uint32_t i = 0; i < count; i++)
        list->list.items[list->list.count++] = items[i];
    return ERR_OK;
}

// ---- operands

static enum err take(struct parser *s, uint64_t bytes, const uint8_t **out)
{
    *out = s->at;
    if ((uint64_t) (s->end - s->at) < bytes)
        return refuse(s, "it is cut short");
    s->at += bytes;
    return ERR_OK;
}

// An unsigned number of 1 to 8 bytes.
static enum err take_number(struct parser *s, uint32_t bytes, uint64_t *out)
{
    const uint8_t *p;
    const enum err e = take(s, bytes, &p);
    *out = 0;
    for (uint32_t i = bytes; !e && i-- > 0;)
        *out = *out << 8 | p[i];
    return e;
}

static enum err copy_text(struct parser *s, const uint8_t *bytes, uint64_t length,
                          const char **out)
{
    void *copy;
    if (memchr(bytes, 0, length))
        return refuse(s, "a text with a zero in it");
    const enum err e = reserve(s, length + 1, &copy);
    if (e)
        return e;
    memcpy(copy, bytes, length);
    *out = copy;
    return ERR_OK;
}

// ---- instructions

static enum err op_proto(struct parser *s)
{
    uint64_t version;
    const enum err e = take_number(s, 1, &version);
    if (!e && (version < 2 || version > 5))
        return refuse_number(s, "protocol", version);
    return e;
}

static enum err op_frame(struct parser *s)
{
    uint64_t length; // only a hint for readers of streams
    return take_number(s, 8, &length);
}

static enum err op_mark(struct parser *s)
{
    const enum err e = grow(s, &s->marks, s->mark_count, &s->mark_room, MARKS_MAX,
                            sizeof(*s->marks), "more open marks than");
    if (!e)
        s->marks[s->mark_count++] = s->depth;
    return e;
}

static enum err op_none(struct parser *s)
{
    return push_new(s, (struct pickle_value){ .kind = PICKLE_NONE });
}

static enum err op_true(struct parser *s)
{
    return push_new(s, (struct pickle_value){ .kind = PICKLE_BOOL, .boolean = true });
}

static enum err op_false(struct parser *s)
{
    return push_new(s, (struct pickle_value){ .kind = PICKLE_BOOL });
}

static enum err push_integer(struct parser *s, int64_t n)
{
    return push_new(s, (struct pickle_value){ .kind = PICKLE_INT, .integer = n });
}

static enum err op_binint(struct parser *s)
{
    uint64_t n;
    const enum err e = take_number(s, 4, &n);
    return e ? e : push_integer(s, (int32_t) n);
}

static enum err op_binint1(struct parser *s)
{
    uint64_t n;
    const enum err e = take_number(s, 1, &n);
    return e ? e : push_integer(s, (int64_t) n);
}

static enum err op_binint2(struct parser *s)
{
    uint64_t n;
    const enum err e = take_number(s, 2, &n);
    return e ? e : push_integer(s, (int64_t) n);
}

// A signed number of `length` bytes, two's complement.
static enum err push_long(struct parser *s, uint64_t length)
{
    uint64_t n;
    if (length > 8)
        return refuse_number(s, "an integer whose bytes number", length);
    const enum err e = take_number(s, (uint32_t) length, &n);
    if (length > 0 && length < 8 && n >> (8 * length - 1))
        n |= UINT64_MAX << 8 * length;
    return e ? e : push_integer(s, (int64_t) n);
}

static enum err op_long1(struct parser *s)
{
    uint64_t length;
    const enum err e = take_number(s, 1, &length);
    return e ? e : push_long(s, length);
}

static enum err op_long4(struct parser *s)
{
    uint64_t length;
    const enum err e = take_number(s, 4, &length);
    return e ? e : push_long(s, length);
}

static enum err op_binfloat(struct parser *s)
{
    const uint8_t *p;
    const enum err e = take(s, 8, &p);
    if (e)
        return e;
    uint64_t bits = 0; // big-endian, unlike all else
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | p[i];
    struct pickle_value v = { .kind = PICKLE_FLOAT };
    memcpy(&v.real, &bits, 8);
    return push_new(s, v);
}

static enum err push_text(struct parser *s, uint32_t length_bytes)
{
    uint64_t length;
    const uint8_t *p;
    struct pickle_value v = { .kind = PICKLE_TEXT };
    enum err e = take_number(s, length_bytes, &length);
    if (!e)
        e = take(s, length, &p);
    if (!e)
        e = copy_text(s, p, length, &v.text);
    return e ? e : push_new(s, v);
}

static enum err op_short_text(struct parser *s)
{
    return push_text(s, 1);
}

static enum err op_text(struct parser *s)
{
    return push_text(s, 4);
}

static enum err op_text8(struct parser *s)
{
    return push_text(s, 8);
}

static enum err push_bytes(struct parser *s, uint32_t length_bytes)
{
    uint64_t length;
    const uint8_t *p;
    enum err e = take_number(s, length_bytes, &length);
    if (!e)
        e = take(s, length, &p);
    return e ? e : push_new(s, (struct pickle_value){ .kind = PICKLE_BYTES });
}

static enum err op_short_bytes(struct parser *s)
{
    return push_bytes(s, 1);
}

static enum err op_bytes(struct parser *s)
{
    return push_bytes(s, 4);
}

static enum err push_tuple(struct parser *s, struct pickle_value *const *items, uint32_t count)
{
    void *v;
    enum err e = reserve(s, sizeof(struct pickle_value), &v);
    if (e)
        return e;
    struct pickle_value *tuple = v;
    tuple->kind = PICKLE_TUPLE;
    e = append(s, tuple, items, count);
    return e ? e : push(s, tuple);
}

static enum err op_empty_tuple(struct parser *s)
{
    return push_new(s, (struct pickle_value){ .kind = PICKLE_TUPLE });
}

static enum err op_tuple(struct parser *s)
{
    struct pickle_value **items;
    uint32_t count;
    const enum err e = pop_mark(s, &items, &count);
    return e ? e : push_tuple(s, items, count);
}

static enum err tuple_of(struct parser *s, uint32_t count)
{
    if (s->depth - floor_of(s) < count)
        return refuse(s, "its stack is empty");
    s->depth -= count;
    return push_tuple(s, s->stack + s->depth, count);
}

static enum err op_tuple1(struct parser *s)
{
    return tuple_of(s, 1);
}

static enum err op_tuple2(struct parser *s)
{
    return tuple_of(s, 2);
}

static enum err op_tuple3(struct parser *s)
{
    return tuple_of(s, 3);
}

static enum err op_empty_list(struct parser *s)
{
    return push_new(s, (struct pickle_value){ .kind = PICKLE_LIST });
}

static enum err op_empty_dict(struct parser *s)
{
    return push_new(s, (struct pickle_value){ .kind = PICKLE_DICT });
}

static enum err op_append(struct parser *s)
{
    struct pickle_value *item, *list;
    enum err e = pop(s, &item);
    if (!e)
        e = top(s, PICKLE_LIST, &list);
    return e ? e : append(s, list, &item, 1);
}

static enum err op_appends(struct parser *s)
{
    struct pickle_value **items, *list;
    uint32_t count;
    enum err e = pop_mark(s, &items, &count);
    if (!e)
        e = top(s, PICKLE_LIST, &list);
    return e ? e : append(s, list, items, count);
}

static enum err op_setitem(struct parser *s)
{
    struct pickle_value *pair[2], *dict;
    enum err e = pop(s, &pair[1]);
    if (!e)
        e = pop(s, &pair[0]);
    if (!e)
        e = top(s, PICKLE_DICT, &dict);
    return e ? e : append(s, dict, pair, 2);
}

static enum err op_setitems(struct parser *s)
{
    struct pickle_value **items, *dict;
    uint32_t count;
    enum err e = pop_mark(s, &items, &count);
    if (!e)
        e = top(s, PICKLE_DICT, &dict);
    if (!e && count % 2)
        return refuse(s, "a key without a value");
    return e ? e : append(s, dict, items, count);
}

static enum err op_pop(struct parser *s)
{
    struct pickle_value *unused;
    return pop(s, &unused);
}

static enum err op_pop_mark(struct parser *s)
{
    struct pickle_value **items;
    uint32_t count;
    return pop_mark(s, &items, &count);
}

static enum err op_dup(struct parser *s)
{
    if (s->depth == floor_of(s))
        return refuse(s, "its stack is empty");
    return push(s, s->stack[s->depth - 1]);
}

static enum err put_memo(struct parser *s, uint64_t i)
{
    if (s->depth == floor_of(s))
        return refuse(s, "its stack is empty");
    if (i >= MEMO_MAX)
        return refuse_number(s, "memo entry", i);
    const enum err e = grow(s, &s->memo, (uint32_t) i, &s->memo_room, MEMO_MAX,
                            sizeof(*s->memo), "more memo entries than");
    if (!e)
        s->memo[i] = s->stack[s->depth - 1];
    return e;
}

static enum err op_put(struct parser *s)
{
    uint64_t i;
    const enum err e = take_number(s, 1, &i);
    return e ? e : put_memo(s, i);
}

static enum err op_long_put(struct parser *s)
{
    uint64_t i;
    const enum err e = take_number(s, 4, &i);
    return e ? e : put_memo(s, i);
}

static enum err op_memoize(struct parser *s)
{
    return put_memo(s, s->memoized++);
}

static enum err get_memo(struct parser *s, uint64_t i)
{
    if (i >= s->memo_room || !s->memo[i])
        return refuse_number(s, "nothing was put into memo entry", i);
    return push(s, s->memo[i]);
}

static enum err op_get(struct parser *s)
{
    uint64_t i;
    const enum err e = take_number(s, 1, &i);
    return e ? e : get_memo(s, i);
}

static enum err op_long_get(struct parser *s)
{
    uint64_t i;
    const enum err e = take_number(s, 4, &i);
    return e ? e : get_memo(s, i);
}

// ---- callables and what they make

static const struct {
    const char *module, *name;
    enum pickle_callable what;
    enum dtype dtype;
} callables[] = {
    { "torch._utils", "_rebuild_tensor_v2", CALLABLE_REBUILD_TENSOR, DTYPE_COUNT },
    { "torch._utils", "_rebuild_parameter", CALLABLE_REBUILD_PARAMETER, DTYPE_COUNT },
    { "collections", "OrderedDict", CALLABLE_ORDERED_DICT, DTYPE_COUNT },
    { "torch", "FloatStorage", CALLABLE_STORAGE, DTYPE_F32 },
    { "torch", "HalfStorage", CALLABLE_STORAGE, DTYPE_F16 },
    { "torch", "BFloat16Storage", CALLABLE_STORAGE, DTYPE_BF16 },
    { "torch", "DoubleStorage", CALLABLE_STORAGE, DTYPE_F64 },
    { "torch", "LongStorage", CALLABLE_STORAGE, DTYPE_I64 },
    { "torch", "IntStorage", CALLABLE_STORAGE, DTYPE_I32 },
    { "torch", "ShortStorage", CALLABLE_STORAGE, DTYPE_I16 },
    { "torch", "CharStorage", CALLABLE_STORAGE, DTYPE_I8 },
    { "torch", "ByteStorage", CALLABLE_STORAGE, DTYPE_U8 },
    { "torch", "BoolStorage", CALLABLE_STORAGE, DTYPE_BOOL },
};

static enum err push_callable(struct parser *s, const char *module, const char *name)
{
    for (size_t i = 0; i < sizeof(callables) / sizeof(*callables); i++)
        if (!strcmp(module, callables[i].module) && !strcmp(name, callables[i].name))
            return push_new(s, (struct pickle_value){
                                   .kind = PICKLE_CALLABLE,
                                   .callable = { callables[i].what, callables[i].dtype },
                               });
    char full[128];
    snprintf(full, sizeof(full), "%s.%s", module, name);
    return refuse_name(s, "it calls for", full);
}

static enum err take_line(struct parser *s, const char **out)
{
    const uint8_t *start = s->at;
    const uint8_t *newline = memchr(start, '\n', (size_t) (s->end - start));
    if (!newline)
        return refuse(s, "it is cut short");
    s->at = newline + 1;
    return copy_text(s, start, (uint64_t) (newline - start), out);
}

static enum err op_global(struct parser *s)
{
    const char *module = NULL, *name = NULL;
    enum err e = take_line(s, &module);
    if (!e)
        e = take_line(s, &name);
    return e ? e : push_callable(s, module, name);
}

static enum err op_stack_global(struct parser *s)
{
    struct pickle_value *name, *module;
    enum err e = pop(s, &name);
    if (!e)
        e = pop(s, &module);
    if (e)
        return e;
    if (name->kind != PICKLE_TEXT || module->kind != PICKLE_TEXT)
        return refuse(s, "a callable whose name is no text");
    return push_callable(s, module->text, name->text);
}

// Argument i of a tuple, if it is of this kind; else NULL.
static const struct pickle_value *argument(const struct pickle_value *tuple, uint32_t i,
                                           enum pickle_kind kind)
{
    if (tuple->kind != PICKLE_TUPLE || i >= tuple->list.count ||
        tuple->list.items[i]->kind != kind)
        return NULL;
    return tuple->list.items[i];
}

// A tuple of at most 8 sizes.
static bool read_sizes(const struct pickle_value *tuple, uint32_t *rank, uint64_t *out)
{
    if (!tuple || tuple->list.count > TENSOR_MAX_RANK)
        return false;
    *rank = tuple->list.count;
    for (uint32_t i = 0; i < *rank; i++) {
        const struct pickle_value *n = argument(tuple, i, PICKLE_INT);
        if (!n || n->integer < 0)
            return false;
        out[i] = (uint64_t) n->integer;
    }
    return true;
}

// The last element is within the storage, and no more elements than it has, so
// that a copy of the tensor is no larger than the file.
static bool fits_storage(const struct pickle_value *v)
{
    uint64_t elements = 1, last = v->tensor.offset;
    for (uint32_t i = 0; i < v->tensor.rank; i++)
        if (v->tensor.shape[i] == 0)
            return true;
    for (uint32_t i = 0; i < v->tensor.rank; i++) {
        uint64_t reach;
        if (!size_mul(elements, v->tensor.shape[i], &elements) ||
            !size_mul(v->tensor.shape[i] - 1, v->tensor.stride[i], &reach) ||
            !size_add(last, reach, &last))
            return false;
    }
    const uint64_t room = v->tensor.storage->storage.elements;
    return last < room && elements <= room;
}

// _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])
static enum err rebuild_tensor(struct parser *s, const struct pickle_value *arguments)
{
    struct pickle_value v = { .kind = PICKLE_TENSOR };
    const struct pickle_value *offset = argument(arguments, 1, PICKLE_INT);
    uint32_t strides;
    v.tensor.storage = argument(arguments, 0, PICKLE_STORAGE);
    if (!v.tensor.storage || !offset || offset->integer < 0 ||
        !read_sizes(argument(arguments, 2, PICKLE_TUPLE), &v.tensor.rank, v.tensor.shape) ||
        !read_sizes(argument(arguments, 3, PICKLE_TUPLE), &strides, v.tensor.stride) ||
        strides != v.tensor.rank)
        return refuse(s, "a tensor with senseless arguments");
    v.tensor.offset = (uint64_t) offset->integer;
    if (!fits_storage(&v))
        return refuse(s, "a tensor larger than its storage");
    return push_new(s, v);
}

static enum err op_reduce(struct parser *s)
{
    struct pickle_value *arguments, *callable;
    enum err e = pop(s, &arguments);
    if (!e)
        e = pop(s, &callable);
    if (e)
        return e;
    if (callable->kind != PICKLE_CALLABLE || arguments->kind != PICKLE_TUPLE)
        return refuse(s, "a call of something that cannot be called");
    switch (callable->callable.what) {
    case CALLABLE_REBUILD_TENSOR: return rebuild_tensor(s, arguments);
    case CALLABLE_REBUILD_PARAMETER:
        if (!argument(arguments, 0, PICKLE_TENSOR))
            return refuse(s, "a parameter that is no tensor");
        return push_new(s, *arguments->list.items[0]);
    case CALLABLE_ORDERED_DICT:
        if (arguments->list.count)
            return refuse(s, "an OrderedDict made of something");
        return op_empty_dict(s);
    case CALLABLE_STORAGE: break;
    }
    return refuse(s, "a call of a storage type");
}

// State on top of a dict (an OrderedDict's _metadata) is dropped.
static enum err op_build(struct parser *s)
{
    struct pickle_value *state, *object;
    const enum err e = pop(s, &state);
    return e ? e : top(s, PICKLE_DICT, &object);
}

// ('storage', type, key, location, elements)
static enum err op_persistent_id(struct parser *s)
{
    struct pickle_value *id, v = { .kind = PICKLE_STORAGE };
    const enum err e = pop(s, &id);
    if (e)
        return e;
    const struct pickle_value *what = argument(id, 0, PICKLE_TEXT);
    const struct pickle_value *type = argument(id, 1, PICKLE_CALLABLE);
    const struct pickle_value *key = argument(id, 2, PICKLE_TEXT);
    const struct pickle_value *elements = argument(id, 4, PICKLE_INT);
    if (!what || strcmp(what->text, "storage") != 0 || !type ||
        type->callable.what != CALLABLE_STORAGE || !key || !elements || elements->integer < 0)
        return refuse(s, "a reference to something other than a storage");
    v.storage.dtype = type->callable.dtype;
    v.storage.key = key->text;
    v.storage.elements = (uint64_t) elements->integer;
    return push_new(s, v);
}

static enum err op_stop(struct parser *s)
{
    if (s->depth != 1 || s->mark_count)
        return refuse_number(s, "it should end with one value; it ends with", s->depth);
    s->p->root = s->stack[0];
    s->stopped = true;
    return ERR_OK;
}

// All instructions of protocols 0 to 5. Those without a function are refused.
static const struct {
    const char *name;
    enum err (*run)(struct parser *s);
} instructions[256] = {
    ['('] = { "MARK", op_mark },
    ['.'] = { "STOP", op_stop },
    ['0'] = { "POP", op_pop },
    ['1'] = { "POP_MARK", op_pop_mark },
    ['2'] = { "DUP", op_dup },
    ['F'] = { "FLOAT", NULL },
    ['I'] = { "INT", NULL },
    ['J'] = { "BININT", op_binint },
    ['K'] = { "BININT1", op_binint1 },
    ['L'] = { "LONG", NULL },
    ['M'] = { "BININT2", op_binint2 },
    ['N'] = { "NONE", op_none },
    ['P'] = { "PERSID", NULL },
    ['Q'] = { "BINPERSID", op_persistent_id },
    ['R'] = { "REDUCE", op_reduce },
    ['S'] = { "STRING", NULL },
    ['T'] = { "BINSTRING", op_bytes },
    ['U'] = { "SHORT_BINSTRING", op_short_bytes },
    ['V'] = { "UNICODE", NULL },
    ['X'] = { "BINUNICODE", op_text },
    ['a'] = { "APPEND", op_append },
    ['b'] = { "BUILD", op_build },
    ['c'] = { "GLOBAL", op_global },
    ['d'] = { "DICT", NULL },
    ['}'] = { "EMPTY_DICT", op_empty_dict },
    ['e'] = { "APPENDS", op_appends },
    ['g'] = { "GET", NULL },
    ['h'] = { "BINGET", op_get },
    ['i'] = { "INST", NULL },
    ['j'] = { "LONG_BINGET", op_long_get },
    ['l'] = { "LIST", NULL },
    [']'] = { "EMPTY_LIST", op_empty_list },
    ['o'] = { "OBJ", NULL },
    ['p'] = { "PUT", NULL },
    ['q'] = { "BINPUT", op_put },
    ['r'] = { "LONG_BINPUT", op_long_put },
    ['s'] = { "SETITEM", op_setitem },
    ['t'] = { "TUPLE", op_tuple },
    [')'] = { "EMPTY_TUPLE", op_empty_tuple },
    ['u'] = { "SETITEMS", op_setitems },
    ['G'] = { "BINFLOAT", op_binfloat },
    ['B'] = { "BINBYTES", op_bytes },
    ['C'] = { "SHORT_BINBYTES", op_short_bytes },
    [0x80] = { "PROTO", op_proto },
    [0x81] = { "NEWOBJ", NULL },
    [0x82] = { "EXT1", NULL },
    [0x83] = { "EXT2", NULL },
    [0x84] = { "EXT4", NULL },
    [0x85] = { "TUPLE1", op_tuple1 },
    [0x86] = { "TUPLE2", op_tuple2 },
    [0x87] = { "TUPLE3", op_tuple3 },
    [0x88] = { "NEWTRUE", op_true },
    [0x89] = { "NEWFALSE", op_false },
    [0x8a] = { "LONG1", op_long1 },
    [0x8b] = { "LONG4", op_long4 },
    [0x8c] = { "SHORT_BINUNICODE", op_short_text },
    [0x8d] = { "BINUNICODE8", op_text8 },
    [0x8e] = { "BINBYTES8", NULL },
    [0x8f] = { "EMPTY_SET", NULL },
    [0x90] = { "ADDITEMS", NULL },
    [0x91] = { "FROZENSET", NULL },
    [0x92] = { "NEWOBJ_EX", NULL },
    [0x93] = { "STACK_GLOBAL", op_stack_global },
    [0x94] = { "MEMOIZE", op_memoize },
    [0x95] = { "FRAME", op_frame },
    [0x96] = { "BYTEARRAY8", NULL },
    [0x97] = { "NEXT_BUFFER", NULL },
    [0x98] = { "READONLY_BUFFER", NULL },
};

static enum err run(struct parser *s)
{
    enum err e = grow_stack(s); // from here on there is one, however empty
    while (!e && !s->stopped) {
        if (s->at == s->end)
            return refuse(s, "it is cut short");
        const uint8_t code = *s->at++;
        if (!instructions[code].name)
            return refuse_number(s, "there is no instruction", code);
        if (!instructions[code].run)
            return refuse_name(s, "it uses the instruction", instructions[code].name);
        e = instructions[code].run(s);
    }
    return e;
}

enum err pickle_parse(struct pickle **out, const char *name, const void *data, uint64_t bytes)
{
    *out = NULL;
    struct parser s = { .name = name, .at = data, .start = data };
    if (bytes > PICKLE_MAX_BYTES)
        return refuse_number(&s, "a pickle whose bytes number", bytes);
    s.end = s.at + bytes;
    s.p = calloc(1, sizeof(*s.p));
    const enum err e = s.p ? run(&s) : out_of_memory(&s);
    free(s.stack);
    free(s.marks);
    free(s.memo);
    if (e)
        pickle_free(&s.p);
    *out = s.p;
    return e;
}

void pickle_free(struct pickle **p)
{
    if (!*p)
        return;
    for (struct block *b = (*p)->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(*p);
    *p = NULL;
}

const struct pickle_value *pickle_root(const struct pickle *p)
{
    return p->root;
}

const struct pickle_value *pickle_get(const struct pickle_value *dict, const char *key)
{
    const struct pickle_value *found = NULL;
    if (!dict || dict->kind != PICKLE_DICT)
        return NULL;
    for (uint32_t i = 0; i < dict->list.count; i += 2)
        if (dict->list.items[i]->kind == PICKLE_TEXT && !strcmp(dict->list.items[i]->text, key))
            found = dict->list.items[i + 1];
    return found;
}
