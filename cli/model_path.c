#include "cli/model_path.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"

#define INSTALLED "share/underscore/models/demo.safetensors"
#define IN_SOURCES "models/demo.safetensors"
#define BUILD_DEPTH 4 // folders between a build tree and its sources at most

static bool join(char out[PATH_MAX], const char *folder, const char *name)
{
    const int n = snprintf(out, PATH_MAX, "%s/%s", folder, name);
    return n > 0 && n < PATH_MAX;
}

static bool is_there(const char *folder, const char *name)
{
    char path[PATH_MAX];
    return join(path, folder, name) && access(path, R_OK) == 0;
}

// Cut the last name off; false when there is none left.
static bool go_up(char *path)
{
    char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return false;
    *slash = 0;
    return true;
}

// The folder of the running program, without links on the way.
static bool own_folder(char out[PATH_MAX])
{
    const ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
    if (n <= 0)
        return false;
    out[n] = 0;
    return go_up(out);
}

static bool find_builtin(char out[PATH_MAX])
{
    char folder[PATH_MAX];
    if (!own_folder(folder))
        return false;
    const bool in_build_tree = is_there(folder, "CMakeCache.txt");
    if (!go_up(folder))
        return false;
    if (is_there(folder, INSTALLED))
        return join(out, folder, INSTALLED);
    for (int i = 0; in_build_tree && i < BUILD_DEPTH; i++) {
        if (is_there(folder, IN_SOURCES))
            return join(out, folder, IN_SOURCES);
        if (!go_up(folder))
            return false;
    }
    return false;
}

enum err model_path_find_any(char **out, const char *named)
{
    char builtin[PATH_MAX];
    const char *path = named ? named : getenv("UNDERSCORE_MODEL");
    *out = NULL;
    if ((!path || !*path) && find_builtin(builtin))
        path = builtin;
    if (!path || !*path)
        return ERR_OK;
    *out = strdup(path);
    return *out ? ERR_OK : ERR_NOMEM;
}

enum err model_path_find(char **out, const char *named)
{
    const enum err e = model_path_find_any(out, named);
    if (e || *out)
        return e;
    log_error("no model: there is no built-in one here, so name one with --model FILE or "
              "$UNDERSCORE_MODEL; `underscore import` makes one of published weights");
    return ERR_USAGE;
}
