// Tests of zip, pickle and torch_file: what torch.save writes is read, all
// else is refused, and nothing is ever run.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "worker/weights/torch_file.h"
#include "worker/weights/weights_fixture.h"
#include "worker/weights/zip.h"

// Six floats, as data/0 of every archive here.
static const float floats[6] = { 0, 1, 2, 3, 4, 5 };

static struct buffer archive_with(const void *pickle, size_t bytes)
{
    const struct archive_entry entries[] = {
        { "x/data.pkl", pickle, bytes },
        { "x/data/0", floats, sizeof(floats) },
        { "x/byteorder", "little", 6 },
    };
    return archive_of(entries, 3);
}

#define PROTO "\x80\x02"
#define FLOATS                                          \
    "((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" \
    "0X\3\0\0\0cpuK\6tQ"
#define REBUILD "ctorch._utils\n_rebuild_tensor_v2\n"
#define NO_HOOKS \
    "\x89"       \
    "ccollections\nOrderedDict\n)R"
// A tensor over the six floats: offset, then sizes and strides as tuples.
#define TENSOR(offset, sizes, strides) REBUILD FLOATS offset sizes strides NO_HOOKS "tR"

#define PICKLE(text) (text), sizeof(text) - 1

static enum err open_pickle(struct torch_file **f, struct buffer *b, const void *pickle,
                            size_t bytes)
{
    *b = archive_with(pickle, bytes);
    return torch_file_open(f, "test", b->data, b->bytes);
}

static void tensors_are_gathered(void **state)
{
    (void) state;
    static const struct {
        const char *pickle;
        size_t bytes;
        uint32_t rank, count;
        float expected[6];
    } cases[] = {
        { PICKLE(PROTO TENSOR("K\0", "K\2K\3\x86", "K\3K\1\x86") "."),
          2,
          6,
          { 0, 1, 2, 3, 4, 5 } },
        { PICKLE(PROTO TENSOR("K\0", "K\3K\2\x86", "K\1K\3\x86") "."),
          2,
          6,
          { 0, 3, 1, 4, 2, 5 } },
        { PICKLE(PROTO TENSOR("K\1", "K\2\x85", "K\4\x85") "."), 1, 2, { 1, 5 } },
        { PICKLE(PROTO TENSOR("K\4", "K\1K\2\x86", "K\7K\1\x86") "."), 2, 2, { 4, 5 } },
        { PICKLE(PROTO TENSOR("K\5", ")", ")") "."), 0, 1, { 5 } },
        { PICKLE(PROTO TENSOR("K\1", "K\2K\2\x86", "K\0K\2\x86") "."), 2, 4, { 1, 3, 1, 3 } },
        { PICKLE(PROTO "ctorch._utils\n_rebuild_parameter\n(" TENSOR("K\2", "K\2\x85",
                                                                     "K\1\x85") NO_HOOKS "tR."),
          1,
          2,
          { 2, 3 } },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct torch_file *f;
        struct buffer b;
        struct tensor_view t;
        assert_int_equal(open_pickle(&f, &b, cases[i].pickle, cases[i].bytes), ERR_OK);
        assert_int_equal(torch_file_root(f)->kind, PICKLE_TENSOR);
        assert_int_equal(torch_file_tensor(f, torch_file_root(f), &t), ERR_OK);
        assert_int_equal(t.rank, cases[i].rank);
        assert_int_equal(tensor_elements(&t), cases[i].count);
        for (uint64_t n = 0; n < cases[i].count; n++)
            assert_true(tensor_at(&t, n) == cases[i].expected[n]);
        torch_file_close(&f);
        buffer_free(&b);
    }
}

static void values_are_read(void **state)
{
    (void) state;
    struct torch_file *f;
    struct buffer b;
    assert_int_equal(
        open_pickle(&f, &b,
                    PICKLE("\x80\x04\x95\0\0\0\0\0\0\0\0}\x94(\x8c\1a\x94J\xfe\xff\xff\xff"
                           "\x8c\1bG\x3f\xf8\0\0\0\0\0\0\x8c\1c\x8a\2\x00\x80\x8c\1d\x8a\0"
                           "\x8c\1e](K\1K\2e\x8c\1fNh\1K\7"
                           "\x8c\1g\x8c\x0b"
                           "collections\x8c\x0bOrderedDict\x93)R}b"
                           "\x8c\1h\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fu.")),
        ERR_OK);
    const struct pickle_value *d = torch_file_root(f);
    assert_int_equal(d->kind, PICKLE_DICT);
    assert_int_equal(pickle_get(d, "a")->integer, 7); // set twice, by name and by memo
    assert_true(pickle_get(d, "b")->real == 1.5);
    assert_int_equal(pickle_get(d, "c")->integer, -32768);
    assert_int_equal(pickle_get(d, "d")->integer, 0);
    assert_int_equal(pickle_get(d, "e")->list.count, 2);
    assert_int_equal(pickle_get(d, "f")->kind, PICKLE_NONE);
    assert_int_equal(pickle_get(d, "g")->kind, PICKLE_DICT);
    assert_true(pickle_get(d, "h")->integer == INT64_MAX);
    assert_null(pickle_get(d, "i"));
    assert_null(pickle_get(pickle_get(d, "a"), "i"));
    torch_file_close(&f);
    buffer_free(&b);
}

static void hostile_pickles_are_refused(void **state)
{
    (void) state;
    static const struct {
        const char *pickle;
        size_t bytes;
    } cases[] = {
        { PICKLE(PROTO "cos\nsystem\nX\2\0\0\0id\x85R.") },
        { PICKLE(PROTO "cposix\nsystem\n.") },
        { PICKLE(PROTO "cbuiltins\neval\nX\1\0\0\0"
                       "1\x85R.") },
        { PICKLE("\x80\x04\x8c\2os\x8c\6system\x93.") },
        { PICKLE("\x80\x04\x8c\5torch\x8c\4load\x93.") },
        { PICKLE(PROTO "ctorch._utils\n_rebuild_tensor_v3\n.") },
        { PICKLE(PROTO "ccollections\nOrderedDict\n]\x85R.") },
        { PICKLE(PROTO "ctorch\nFloatStorage\n)R.") },
        { PICKLE(PROTO "K\1)R.") },
        { PICKLE(PROTO "(ios\nsystem\n.") },                   // INST
        { PICKLE(PROTO "(cos\nsystem\no.") },                  // OBJ
        { PICKLE(PROTO "ccollections\nOrderedDict\n)\x81.") }, // NEWOBJ
        { PICKLE(PROTO "Pabc\n.") },                           // PERSID
        { PICKLE(PROTO "]}b.") },                              // BUILD of a list
        { PICKLE(PROTO "\x82\1.") },                           // EXT1
        { PICKLE(PROTO "\x8b\xff\xff\xff\x7f.") },             // LONG4 of 2 GiB
        { PICKLE(PROTO "\x8a\x09\1\1\1\1\1\1\1\1\1.") },       // too wide
        { PICKLE(PROTO "X\xff\xff\xff\xff"
                       "abc.") },
        { PICKLE(PROTO "\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
                       "abc.") },
        { PICKLE(PROTO "X\3\0\0\0a\0b.") },
        { PICKLE(PROTO "K\1r\xff\xff\xff\xff.") }, // memo entry 2^32 - 1
        { PICKLE(PROTO "K\1r\0\0\x10\0.") },       // 2^20
        { PICKLE(PROTO "h\0.") },
        { PICKLE(PROTO "K\1q\1h\0.") },
        { PICKLE(PROTO "j\xff\xff\xff\xff.") },
        { PICKLE(PROTO "q\0.") },
        { PICKLE(PROTO ".") },
        { PICKLE(PROTO "K\1K\2.") },
        { PICKLE(PROTO "K\1(.") },
        { PICKLE(PROTO "0.") },
        { PICKLE(PROTO "1.") },
        { PICKLE(PROTO "2.") },
        { PICKLE(PROTO "K\1(0.") }, // the mark bounds the stack
        { PICKLE(PROTO "K\1(\x85.") },
        { PICKLE(PROTO "t.") },
        { PICKLE(PROTO "}(K\1u.") },
        { PICKLE(PROTO "K\1(K\1K\1u.") },
        { PICKLE(PROTO "}K\1a.") },
        { PICKLE(PROTO "K\1Q.") },
        { PICKLE(PROTO "(X\7\0\0\0storageK\1K\1K\1K\1tQ.") },
        { PICKLE(PROTO "\x80\x06K\1.") },
        { PICKLE("I1\n.") },
        { PICKLE("\xff.") },
        { PICKLE(PROTO "K\1") },
        { PICKLE("") },
        { PICKLE(PROTO TENSOR("K\0", "K\7\x85", "K\1\x85") ".") },
        { PICKLE(PROTO TENSOR("K\1", "K\6\x85", "K\1\x85") ".") },
        { PICKLE(PROTO TENSOR("K\6", ")", ")") ".") },
        { PICKLE(PROTO TENSOR("J\xff\xff\xff\xff", ")", ")") ".") },
        { PICKLE(PROTO TENSOR("K\0", "J\xff\xff\xff\xff\x85", "K\1\x85") ".") },
        { PICKLE(PROTO TENSOR("K\0", "K\2\x85", "K\6\x85") ".") },
        { PICKLE(PROTO TENSOR("K\0", "K\2\x85", ")") ".") },
        { PICKLE(PROTO TENSOR("K\0", "J\xff\xff\xff\x7f\x85",
                              "K\0\x85") ".") }, // 8 GiB of one float
        { PICKLE(PROTO TENSOR("K\0", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t",
                              "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t") ".") },
        { PICKLE(PROTO TENSOR("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", "K\2\x85",
                              "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85") ".") },
        { PICKLE(PROTO REBUILD ")R.") },
        { PICKLE(PROTO "ctorch._utils\n_rebuild_parameter\n)R.") },
    };
    const int kept = silence_stderr();
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct torch_file *f;
        struct buffer b;
        const enum err e = open_pickle(&f, &b, cases[i].pickle, cases[i].bytes);
        if (e != ERR_INPUT) {
            restore_stderr(kept);
            print_error("case %zu\n", i);
        }
        assert_int_equal(e, ERR_INPUT);
        assert_null(f);
        buffer_free(&b);
    }
    restore_stderr(kept);
}

static void repeat(struct buffer *b, const char *text, size_t bytes, size_t times)
{
    for (size_t i = 0; i < times; i++)
        buffer_add(b, text, bytes);
}

static enum err parse(const struct buffer *b)
{
    struct pickle *p;
    const enum err e = pickle_parse(&p, "test", b->data, b->bytes);
    pickle_free(&p);
    return e;
}

static void depth_and_size_are_bounded(void **state)
{
    (void) state;
    struct buffer b = { 0 };
    buffer_add_text(&b, "]");
    repeat(&b, "]a", 2, 1000); // a list in a list in a list... is not even nested here
    buffer_add_text(&b, ".");
    assert_int_equal(parse(&b), ERR_OK);
    buffer_free(&b);

    buffer_add_text(&b, "K\1");
    repeat(&b, "\x85", 1, 900000); // tuples 900,000 deep: no recursion to overflow
    buffer_add_text(&b, ".");
    assert_int_equal(parse(&b), ERR_OK);
    buffer_free(&b);

    repeat(&b, "(", 1, 1 << 20);
    assert_int_equal(parse(&b), ERR_INPUT);
    buffer_free(&b);

    repeat(&b, "N", 1, (1 << 20) + 1);
    assert_int_equal(parse(&b), ERR_INPUT);
    buffer_free(&b);

    repeat(&b, "N0", 2, 8 << 20); // 16 MiB that keep making values
    assert_int_equal(parse(&b), ERR_INPUT);
    buffer_free(&b);

    repeat(&b, "N0", 2, (8 << 20) + 1);
    assert_int_equal(parse(&b), ERR_INPUT);
    buffer_free(&b);

    buffer_add_text(&b, "]q");
    buffer_add(&b, "\0h", 2);
    buffer_add(&b, "\0a.", 3); // a list that holds itself
    assert_int_equal(parse(&b), ERR_OK);
    buffer_free(&b);
}

static void storages_are_checked(void **state)
{
    (void) state;
    static const char pickle[] = PROTO TENSOR("K\0", "K\6\x85", "K\1\x85") ".";
    const struct archive_entry whole[] = {
        { "x/data.pkl", pickle, sizeof(pickle) - 1 },
        { "x/data/0", floats, sizeof(floats) },
        { "x/byteorder", "little", 6 },
    };
    for (int i = 0; i < 3; i++) {
        struct archive_entry entries[3];
        memcpy(entries, whole, sizeof(whole));
        if (i == 0)
            entries[1].bytes--; // cut short
        else if (i == 1)
            entries[1].name = "x/data/1"; // missing
        else
            entries[2].data = "bigend";
        struct buffer b = archive_of(entries, 3);
        struct torch_file *f;
        struct tensor_view t;
        enum err e = torch_file_open(&f, "test", b.data, b.bytes);
        assert_int_equal(e, i == 2 ? ERR_INPUT : ERR_OK);
        if (!e)
            assert_int_equal(torch_file_tensor(f, torch_file_root(f), &t), ERR_INPUT);
        torch_file_close(&f);
        buffer_free(&b);
    }
    struct torch_file *f;
    assert_int_equal(torch_file_open(&f, "test", "", 0), ERR_INPUT);
    assert_int_equal(torch_file_open(&f, "test", "\x80\x02\x8a\nl\xfc", 6), ERR_INPUT);
}

// Offsets in an archive of one entry named "a/data.pkl" (10 bytes), holding "N.".
enum { LOCAL = 0, CENTRAL = 30 + 10 + 2, END = CENTRAL + 46 + 10 };

static void unsound_archives_are_refused(void **state)
{
    (void) state;
    const struct archive_entry entry = { "a/data.pkl", "N.", 2 };
    static const struct {
        size_t at;
        uint64_t value;
        int bytes;
    } changes[] = {
        { CENTRAL + 8, 1, 2 },           // encrypted
        { CENTRAL + 10, 8, 2 },          // deflated
        { CENTRAL + 20, 1, 4 },          // two sizes
        { CENTRAL + 24, 0xfffffffe, 4 }, // likewise
        { CENTRAL + 28, 0xffff, 2 },     // a name beyond the file
        { CENTRAL + 30, 0xffff, 2 },     // an extra field beyond the file
        { CENTRAL + 34, 1, 2 },          // on another disk
        { CENTRAL + 42, 1, 4 },          // a place without a header
        { CENTRAL + 42, 0xfffffff0, 4 }, // outside
        { CENTRAL, 0, 4 },               // no signature
        { LOCAL + 26, 9, 2 },            // another name
        { LOCAL + 28, 0xffff, 2 },       // data beyond the file
        { LOCAL + 30, 'b', 1 },          // another name
        { END + 4, 1, 2 },               // several disks
        { END + 8, 2, 2 },               // likewise
        { END + 12, 0xffffffff, 4 },     // a directory beyond the file
        { END + 16, 0xffffffff, 4 },     // likewise
        { END + 20, 1, 2 },              // a comment that is not there
    };
    struct buffer b = archive_of(&entry, 1);
    struct zip *z;
    assert_int_equal(b.bytes, END + 22);
    assert_int_equal(zip_open(&z, "test", b.data, b.bytes), ERR_OK);
    assert_int_equal(zip_count(z), 1);
    assert_int_equal(zip_find(z, "a/data.pkl")->bytes, 2);
    assert_memory_equal(zip_find(z, "a/data.pkl")->data, "N.", 2);
    assert_null(zip_find(z, "a/data.pk"));
    zip_close(&z);

    const int kept = silence_stderr();
    for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        uint8_t copy[END + 22];
        memcpy(copy, b.data, sizeof(copy));
        for (int n = 0; n < changes[i].bytes; n++)
            copy[changes[i].at + (size_t) n] = (uint8_t) (changes[i].value >> 8 * n);
        const enum err e = zip_open(&z, "test", copy, sizeof(copy));
        if (e != ERR_INPUT) {
            restore_stderr(kept);
            print_error("change %zu\n", i);
        }
        assert_int_equal(e, ERR_INPUT);
    }
    for (size_t n = 0; n < b.bytes; n++)
        assert_int_equal(zip_open(&z, "test", b.data, n), ERR_INPUT);
    const struct archive_entry twice[] = { entry, entry };
    struct buffer two = archive_of(twice, 2);
    assert_int_equal(zip_open(&z, "test", two.data, two.bytes), ERR_INPUT);
    restore_stderr(kept);
    buffer_free(&two);
    buffer_free(&b);
}

static uint64_t sum_tensors(struct torch_file *f)
{
    const struct pickle_value *state = pickle_get(torch_file_root(f), "best_state");
    uint64_t sum = 0;
    for (uint32_t i = 1; state && state->kind == PICKLE_DICT && i < state->list.count; i += 2) {
        struct tensor_view t;
        if (state->list.items[i]->kind == PICKLE_TENSOR &&
            torch_file_tensor(f, state->list.items[i], &t) == ERR_OK)
            for (uint64_t n = 0; n < t.bytes; n += 509) // touch it: a bad view would crash
                sum += ((const uint8_t *) t.data)[n];
    }
    return sum;
}

// A real checkpoint, damaged in its pickle and directory: the parts that say
// where things are.
static void damage_never_crashes(void **state)
{
    (void) state;
    struct buffer b = slurp("tests/golden/tiny-a/compression_state_dict.bin");
    const int kept = silence_stderr();
    struct torch_file *f;
    unsigned refused = 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < b.bytes; i += i < 20000 ? 7 : i < b.bytes - 12000 ? 65537 : 5) {
        const uint8_t good = b.data[i];
        b.data[i] ^= (uint8_t) (1u << (i / 7) % 8);
        const enum err e = torch_file_open(&f, "test", b.data, b.bytes);
        refused += e == ERR_INPUT;
        if (!e)
            sum += sum_tensors(f);
        torch_file_close(&f);
        b.data[i] = good;
        if (e && e != ERR_INPUT)
            restore_stderr(kept);
        assert_true(!e || e == ERR_INPUT);
    }
    for (size_t i = 0; i < b.bytes; i += i < b.bytes - 12000 ? 99991 : 11)
        refused += torch_file_open(&f, "test", b.data, i) == ERR_INPUT;
    restore_stderr(kept);
    assert_true(refused > 1000 && sum > 0);
    assert_int_equal(torch_file_open(&f, "test", b.data, b.bytes), ERR_OK);
    torch_file_close(&f);
    buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_gathered),
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(hostile_pickles_are_refused),
        cmocka_unit_test(depth_and_size_are_bounded),
        cmocka_unit_test(storages_are_checked),
        cmocka_unit_test(unsound_archives_are_refused),
        cmocka_unit_test(damage_never_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
