// model_errand: a worker without a model is at the coordinator's service until it is told which
// one it is to have, and then fetches it, if it has not got it.
//
// Models are kept in a folder, SHA256.safetensors each, that workers of a node may share. What
// comes in piece by piece goes to a temporary file, which gets that name when its SHA-256 is
// right. Otherwise it is thrown away and fetched again.
// One thread; it blocks.
#pragma once

#include <stdatomic.h>

#include "common/base/err.h"
#include "common/keys/curve.h"
#include "common/wire/wire.h"

struct model_errand_params {
    const char *control, *bulk;
    struct curve_files keys;
    const char *directory;          // of the models; made when it is not there
    const struct wire_hello *hello; // who this is; its model is empty
    // It leaves when no model was wanted of it for so long; 0: never.
    double idle_s;
    const atomic_uint *signals; // asked to stop
    void (*attend)(void *user); // the owner's, at every turn
    void *user;
};

// *path: the model's file, the caller frees; NULL: it was asked to stop, or was idle. The
// errors of link_run().
ERR_CHECKED enum err model_errand_run(const struct model_errand_params *p, char **path);
