// model_path: which model a verb uses: the one it was given, else the one in
// $UNDERSCORE_MODEL, else the built-in one, models/demo.safetensors.
//
// The built-in one is looked for where `cmake --install` puts it: PREFIX/share/
// underscore/models, PREFIX being where the running program's bin/ is. A program that
// still lies in its build tree (CMakeCache.txt beside it) finds the models/ of the source
// tree above.
#pragma once

#include "common/base/err.h"

// `named` is what the command line says; NULL: nothing. Only for the built-in one is it
// checked that there is a file. The caller frees *out, which is NULL on failure.
// ERR_USAGE when there is none: logs how to get one.
ERR_CHECKED enum err model_path_find(char **out, const char *named);

// The same for those who can do without: *out is NULL when there is none.
ERR_CHECKED enum err model_path_find_any(char **out, const char *named);
