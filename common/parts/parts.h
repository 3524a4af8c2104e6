// parts: composed segments on disk, one safetensors file each: `tokens` I32
// [K, columns] and `pcm` F32 [samples], and in the metadata the key of all that
// the music depends on. A part is written whole or not at all.
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/safetensors/safetensors.h"
#include "common/timeline/plan.h"

#define PART_MAX_CODEBOOKS 16

// Everything a segment's music depends on beside the plan. Strings outlive it.
struct part_inputs {
    const char *model_sha256;
    const char *film; // film_identity()
    double temperature, top_p, guidance;
    int64_t top_k;
};

#define PART_KEY_BYTES 512

// The inputs of a segment in words, its predecessors' folded into a hash: two
// parts with the same key hold the same music on one device. Readable, so that a
// part can be asked what it was made of.
void part_key(char out[PART_KEY_BYTES], const struct part_inputs *in, const struct plan *p,
              uint32_t segment);

// What a film file is, whatever it is called and wherever it lies: its size and
// a hash (FNV-1a, 64 bits) of its first and last MiB. ERR_MISSING, ERR_IO; logs.
#define FILM_IDENTITY_BYTES 64
ERR_CHECKED enum err film_identity(char out[FILM_IDENTITY_BYTES], const char *path);

// "DIR/c0003s002.safetensors". The caller frees; NULL when out of memory.
char *part_path(const char *directory, const struct plan *p, uint32_t segment);

struct part {
    struct safetensors *file;
    struct tensor_view tokens, pcm;
    uint32_t codebooks;
    char key[PART_KEY_BYTES];
};

// Open a part and check that it fits the plan. ERR_MISSING: not there, or
// another program's; ERR_INPUT: damaged, or of another plan. Logs.
ERR_CHECKED enum err part_open(struct part *out, const char *directory, const struct plan *p,
                               uint32_t segment);
void part_close(struct part *p); // a zeroed one is fine

// The same of a file under any name.
ERR_CHECKED enum err part_file_open(struct part *out, const char *path, const struct plan *p,
                                    uint32_t segment);

// Is its sound finite all through?
bool part_is_finite(const struct part *p);

// Reads all of a part. ERR_INPUT: the file is damaged, or what is in it, or the disk under it;
// ERR_MISSING: there is none; ERR_IO: it cannot be opened; logged. ERR_NOMEM.
ERR_CHECKED enum err part_examine(const char *directory, const struct plan *p,
                                  uint32_t segment);

// What is damaged is no part any more, and stays beside its place, as "NAME.damaged", for whoever
// wants to know what became of it. Logs.
void part_put_aside(const char *directory, const struct plan *p, uint32_t segment);

// Is there a file for the segment? And one made of just these inputs? Neither
// logs.
bool part_exists(const char *directory, const struct plan *p, uint32_t segment);
bool part_is_made_of(const char *directory, const struct plan *p, uint32_t segment,
                     const char *key);

// Are all parts there, made for this plan, and of one film, model and sampling? ERR_MISSING,
// ERR_INPUT; logs.
ERR_CHECKED enum err parts_belong_together(const char *directory, const struct plan *p);

// What a part says of how it was made, beside its key. NULL: it does not say.
struct part_origin {
    const char *device;  // name, driver, UUID
    const char *license; // the model's
};

ERR_CHECKED enum err part_write(const char *directory, const struct plan *p, uint32_t segment,
                                const char *key, const struct part_origin *origin,
                                uint32_t codebooks, const int32_t *tokens, const float *pcm);

// An origin as metadata of a file, and back: `out` has room for two.
uint32_t part_origin_strings(struct safetensors_string *out, const struct part_origin *origin);
struct part_origin part_origin_of(const struct safetensors *file);

// How the music in a directory of parts, or of kept tokens, was made, as far as they say it:
// "model" (sha256, license), "sampling", "devices" (each once). A new reference; NULL when out of memory.
json_t *parts_tell(const char *directory, const struct plan *p);

// The same for who has no plan.
struct part_content {
    const char *key;
    uint32_t codebooks, columns;
    const int32_t *tokens; // [codebooks][columns]
    uint64_t samples;
    const float *pcm;
};
ERR_CHECKED enum err part_file_write(const char *path, const struct part_content *c);

// A loader for stitch over a directory of parts: `user` is a struct part_loader.
struct part_loader {
    const char *directory;
    const struct plan *plan;
    struct {
        int64_t segment;
        struct part part;
    } held[8]; // STITCH_MAX_HELD and some
};
void part_loader_init(struct part_loader *l, const char *directory, const struct plan *p);
enum err part_loader_load(void *user, uint32_t segment, const float **pcm, uint64_t *samples);
void part_loader_release(void *user, uint32_t segment, const float *pcm);
void part_loader_finish(struct part_loader *l);
