#include "common/parts/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/log.h"

#define KEY_NAME "underscore.part"
#define DEVICE_NAME "underscore.device"
#define LICENSE_NAME "underscore.license"
#define FNV_START 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u
#define IDENTITY_BYTES (1u << 20)
#define PIECE_BYTES (1u << 20)

static uint64_t fnv(uint64_t h, const void *data, uint64_t bytes)
{
    const uint8_t *p = data;
    for (uint64_t i = 0; i < bytes; i++)
        h = (h ^ p[i]) * FNV_PRIME;
    return h;
}

static void own_inputs(char out[PART_KEY_BYTES], const struct part_inputs *in,
                       const struct plan *p, uint32_t segment)
{
    const struct plan_segment *s = &p->segments[segment];
    const struct plan_span watch = plan_watch(p, segment);
    snprintf(out, PART_KEY_BYTES,
             "model %.64s film %.63s watch %lld-%lld columns %u prompt %u seed %llu "
             "temperature %.9g top_k %lld top_p %.9g guidance %.9g",
             in->model_sha256, in->film, (long long) watch.from_ms, (long long) watch.to_ms,
             s->columns, s->prompt_columns, (unsigned long long) s->seed, in->temperature,
             (long long) in->top_k, in->top_p, in->guidance);
}

void part_key(char out[PART_KEY_BYTES], const struct part_inputs *in, const struct plan *p,
              uint32_t segment)
{
    // From the cue's first segment to this one: each depends on all before it.
    const uint32_t first = p->cues[p->segments[segment].cue].first_segment;
    uint64_t chain = FNV_START;
    for (uint32_t i = first; i < segment; i++) {
        own_inputs(out, in, p, i);
        chain = fnv(chain, out, strlen(out));
    }
    own_inputs(out, in, p, segment);
    const size_t n = strlen(out);
    if (segment > first)
        snprintf(out + n, PART_KEY_BYTES - n, " after %016llx", (unsigned long long) chain);
}

static bool hash_piece(uint64_t *h, int fd, uint64_t off, uint64_t bytes)
{
    uint8_t piece[65536];
    for (uint64_t done = 0; done < bytes;) {
        const uint64_t left = bytes - done;
        const ssize_t n =
            pread(fd, piece, left < sizeof(piece) ? left : sizeof(piece), (off_t) (off + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        *h = fnv(*h, piece, (uint64_t) n);
        done += (uint64_t) n;
    }
    return true;
}

// It is not mapped: a film may be larger than the memory that a process may use.
enum err film_identity(char out[FILM_IDENTITY_BYTES], const char *path)
{
    struct stat st;
    errno = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        log_error("%s: %s", path, errno ? strerror(errno) : "not a regular file");
        if (fd >= 0)
            close(fd);
        return ERR_MISSING;
    }
    const uint64_t bytes = (uint64_t) st.st_size,
                   n = bytes < IDENTITY_BYTES ? bytes : IDENTITY_BYTES;
    uint64_t h = FNV_START;
    errno = 0;
    const bool read = hash_piece(&h, fd, 0, n) && hash_piece(&h, fd, bytes - n, n);
    if (!read)
        log_error("%s: cannot read: %s", path,
                  errno ? strerror(errno) : "it has become shorter");
    close(fd);
    snprintf(out, FILM_IDENTITY_BYTES, "%llu-%016llx", (unsigned long long) bytes,
             (unsigned long long) h);
    return read ? ERR_OK : ERR_IO;
}

char *part_path(const char *directory, const struct plan *p, uint32_t segment)
{
    char *path = NULL;
    if (asprintf(&path, "%s/c%04us%03u.safetensors", directory, p->segments[segment].cue,
                 p->segments[segment].index) < 0)
        return NULL;
    return path;
}

static bool fits(const struct part *part, const struct plan *p, uint32_t segment)
{
    const struct plan_segment *s = &p->segments[segment];
    return part->tokens.dtype == DTYPE_I32 && part->tokens.rank == 2 &&
           part->tokens.shape[0] >= 1 && part->tokens.shape[0] <= PART_MAX_CODEBOOKS &&
           part->tokens.shape[1] == s->columns && part->pcm.dtype == DTYPE_F32 &&
           part->pcm.rank == 1 &&
           part->pcm.shape[0] == (uint64_t) plan_segment_samples(p, segment);
}

enum err part_file_open(struct part *out, const char *path, const struct plan *p,
                        uint32_t segment)
{
    *out = (struct part){ 0 };
    enum err e = safetensors_open(&out->file, path);
    if (e)
        return e;
    const char *key = safetensors_metadata(out->file, KEY_NAME);
    if (!key || !safetensors_find(out->file, "tokens", &out->tokens) ||
        !safetensors_find(out->file, "pcm", &out->pcm) || !fits(out, p, segment)) {
        log_error("%s: not the part that this plan asks for; compose it again", path);
        part_close(out);
        return ERR_INPUT;
    }
    snprintf(out->key, sizeof(out->key), "%s", key);
    out->codebooks = (uint32_t) out->tokens.shape[0];
    return ERR_OK;
}

enum err part_open(struct part *out, const char *directory, const struct plan *p,
                   uint32_t segment)
{
    *out = (struct part){ 0 };
    char *path = part_path(directory, p, segment);
    if (!path)
        return ERR_NOMEM;
    const enum err e = part_file_open(out, path, p, segment);
    free(path);
    return e;
}

void part_close(struct part *p)
{
    safetensors_close(&p->file);
    *p = (struct part){ 0 };
}

bool part_is_finite(const struct part *p)
{
    const float *x = p->pcm.data; // the writer aligned it
    const uint64_t n = tensor_elements(&p->pcm);
    if ((uintptr_t) x % sizeof(*x))
        return false;
    for (uint64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

// A disk that fails under a mapped file is a signal, under a file that is read an error.
static enum err read_through(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *piece = malloc(PIECE_BYTES);
    ssize_t n = 1;
    while (fd >= 0 && piece && n > 0)
        n = read(fd, piece, PIECE_BYTES);
    const int why = errno;
    free(piece);
    if (fd >= 0)
        close(fd);
    if (!piece)
        return ERR_NOMEM;
    if (fd >= 0 && n == 0)
        return ERR_OK;
    log_error("%s: cannot be read: %s", path, strerror(why));
    return fd < 0 && why == ENOENT ? ERR_MISSING : fd < 0 ? ERR_IO : ERR_INPUT;
}

enum err part_examine(const char *directory, const struct plan *p, uint32_t segment)
{
    struct part part = { 0 };
    char *path = part_path(directory, p, segment);
    enum err e = path ? read_through(path) : ERR_NOMEM;
    if (!e)
        e = part_file_open(&part, path, p, segment);
    if (!e && !part_is_finite(&part)) {
        log_error("%s: its sound is not finite", path);
        e = ERR_INPUT;
    }
    part_close(&part);
    free(path);
    return e;
}

void part_put_aside(const char *directory, const struct plan *p, uint32_t segment)
{
    char *path = part_path(directory, p, segment), *aside = NULL;
    if (path && asprintf(&aside, "%s.damaged", path) >= 0 && rename(path, aside) == 0)
        log_error("segment %u: its finished part is damaged", segment);
    free(path), free(aside);
}

bool part_exists(const char *directory, const struct plan *p, uint32_t segment)
{
    char *path = part_path(directory, p, segment);
    const bool there = path && access(path, F_OK) == 0;
    free(path);
    return there;
}

bool part_is_made_of(const char *directory, const struct plan *p, uint32_t segment,
                     const char *key)
{
    struct part part;
    if (!part_exists(directory, p, segment) || part_open(&part, directory, p, segment))
        return false;
    const bool same = strcmp(part.key, key) == 0;
    part_close(&part);
    return same;
}

// What a key says beside what the plan does. model and film are where the strings go.
static bool read_inputs(const char *key, struct part_inputs *in, char model[65],
                        char film[FILM_IDENTITY_BYTES])
{
    long long top_k;
    if (sscanf(key,
               "model %64s film %63s watch %*d-%*d columns %*u prompt %*u seed %*u "
               "temperature %lg top_k %lld top_p %lg guidance %lg",
               model, film, &in->temperature, &top_k, &in->top_p, &in->guidance) != 6)
        return false;
    in->model_sha256 = model;
    in->film = film;
    in->top_k = top_k;
    return true;
}

enum err parts_belong_together(const char *directory, const struct plan *p)
{
    char model[65], film[FILM_IDENTITY_BYTES], key[PART_KEY_BYTES];
    struct part_inputs in = { 0 };
    for (uint32_t i = 0; i < p->segment_count; i++) {
        struct part part;
        const enum err e = part_open(&part, directory, p, i);
        if (e)
            return e;
        bool fits = i > 0 || read_inputs(part.key, &in, model, film);
        if (fits) {
            part_key(key, &in, p, i);
            fits = strcmp(part.key, key) == 0;
        }
        part_close(&part);
        if (!fits) {
            log_error(
                "%s: its part of cue %u is of another plan or seed, or of another film, model or setting than "
                "those before it; compose the cue in another folder",
                directory, p->segments[i].cue);
            return ERR_INPUT;
        }
    }
    return ERR_OK;
}

uint32_t part_origin_strings(struct safetensors_string *out, const struct part_origin *origin)
{
    uint32_t n = 0;
    if (origin->device)
        out[n++] = (struct safetensors_string){ DEVICE_NAME, origin->device };
    if (origin->license)
        out[n++] = (struct safetensors_string){ LICENSE_NAME, origin->license };
    return n;
}

struct part_origin part_origin_of(const struct safetensors *file)
{
    return (struct part_origin){ safetensors_metadata(file, DEVICE_NAME),
                                 safetensors_metadata(file, LICENSE_NAME) };
}

static bool holds_text(const json_t *list, const char *text)
{
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one) if (!strcmp(json_string_value(one), text)) return true;
    return false;
}

static void tell_model(json_t *told, const char *key, const struct part_origin *origin)
{
    char model[65], film[FILM_IDENTITY_BYTES];
    struct part_inputs in = { 0 };
    if (!key || !read_inputs(key, &in, model, film))
        return;
    json_object_set_new(told, "model",
                        json_pack("{s:s, s:s}", "sha256", model, "license",
                                  origin->license ? origin->license : ""));
    json_object_set_new(told, "sampling",
                        json_pack("{s:f, s:I, s:f, s:f}", "temperature", in.temperature,
                                  "top_k", (json_int_t) in.top_k, "top_p", in.top_p, "guidance",
                                  in.guidance));
}

json_t *parts_tell(const char *directory, const struct plan *p)
{
    json_t *told = json_object(), *devices = json_array();
    for (uint32_t i = 0; told && devices && i < p->segment_count; i++) {
        char *path = part_path(directory, p, i);
        struct safetensors *file = NULL;
        if (path && safetensors_open(&file, path) == ERR_OK) {
            const struct part_origin origin = part_origin_of(file);
            if (origin.device && !holds_text(devices, origin.device))
                json_array_append_new(devices, json_string(origin.device));
            if (i == 0) // they are all of one model and sampling
                tell_model(told, safetensors_metadata(file, KEY_NAME), &origin);
        }
        safetensors_close(&file);
        free(path);
    }
    json_object_set_new(told, "devices", devices);
    return told;
}

static enum err write_file(const char *path, const struct part_content *c,
                           const struct part_origin *origin)
{
    const struct safetensors_item items[] = {
        { .name = "tokens",
          .dtype = DTYPE_I32,
          .rank = 2,
          .shape = { c->codebooks, c->columns },
          .data = c->tokens },
        { .name = "pcm",
          .dtype = DTYPE_F32,
          .rank = 1,
          .shape = { c->samples },
          .data = c->pcm },
    };
    struct safetensors_string strings[4] = {
        { KEY_NAME, c->key },
        { "underscore.software", UNDERSCORE_VERSION },
    };
    const uint32_t count = 2 + part_origin_strings(strings + 2, origin);
    return safetensors_write(path, &(struct safetensors_write_params){
                                       .items = items,
                                       .item_count = 2,
                                       .metadata = strings,
                                       .metadata_count = count,
                                   });
}

enum err part_file_write(const char *path, const struct part_content *c)
{
    return write_file(path, c, &(struct part_origin){ 0 });
}

enum err part_write(const char *directory, const struct plan *p, uint32_t segment,
                    const char *key, const struct part_origin *origin, uint32_t codebooks,
                    const int32_t *tokens, const float *pcm)
{
    char *path = part_path(directory, p, segment);
    if (!path)
        return ERR_NOMEM;
    const struct part_content content = {
        .key = key,
        .codebooks = codebooks,
        .columns = p->segments[segment].columns,
        .tokens = tokens,
        .samples = (uint64_t) plan_segment_samples(p, segment),
        .pcm = pcm,
    };
    const enum err e = write_file(path, &content, origin);
    free(path);
    return e;
}

#define HELD_ROOM \
    (sizeof(((struct part_loader *) 0)->held) / sizeof(((struct part_loader *) 0)->held[0]))

void part_loader_init(struct part_loader *l, const char *directory, const struct plan *p)
{
    *l = (struct part_loader){ .directory = directory, .plan = p };
    for (size_t i = 0; i < HELD_ROOM; i++)
        l->held[i].segment = -1;
}

enum err part_loader_load(void *user, uint32_t segment, const float **pcm, uint64_t *samples)
{
    struct part_loader *l = user;
    for (size_t i = 0; i < HELD_ROOM; i++) {
        if (l->held[i].segment >= 0)
            continue;
        const enum err e = part_open(&l->held[i].part, l->directory, l->plan, segment);
        if (e)
            return e;
        l->held[i].segment = segment;
        *pcm = l->held[i].part.pcm.data; // the writer aligned it
        *samples = l->held[i].part.pcm.shape[0];
        return ERR_OK;
    }
    return ERR_BUG;
}

void part_loader_release(void *user, uint32_t segment, const float *pcm)
{
    struct part_loader *l = user;
    (void) segment;
    for (size_t i = 0; i < HELD_ROOM; i++)
        if (l->held[i].segment >= 0 && l->held[i].part.pcm.data == (const void *) pcm) {
            part_close(&l->held[i].part);
            l->held[i].segment = -1;
            return;
        }
}

void part_loader_finish(struct part_loader *l)
{
    for (size_t i = 0; i < HELD_ROOM; i++)
        part_close(&l->held[i].part);
}
