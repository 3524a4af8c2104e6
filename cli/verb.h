// verb: what every verb of `underscore` shares. A verb is one file; main.c has
// the table of them.
#pragma once

#include "common/base/err.h"

// Each parses its own arguments (argv[0] is the verb), prints results to
// standard output and problems to standard error, and returns what main turns
// into the exit status. `--help` prints the verb's page and returns ERR_OK.
enum err verb_devices(int argc, char **argv);
enum err verb_plan(int argc, char **argv);
enum err verb_compose(int argc, char **argv);
enum err verb_stitch(int argc, char **argv);
enum err verb_score(int argc, char **argv);
enum err verb_render(int argc, char **argv);
enum err verb_import(int argc, char **argv);
enum err verb_inspect(int argc, char **argv);
enum err verb_init_model(int argc, char **argv);
enum err verb_trace(int argc, char **argv);
enum err verb_bench(int argc, char **argv);
