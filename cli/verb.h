// verb: what every verb of `underscore` shares. A verb is one file; front/main.c has
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
enum err verb_bench_farm(int argc, char **argv); // `bench farm`
enum err verb_submit(int argc, char **argv);
enum err verb_list(int argc, char **argv);
enum err verb_show(int argc, char **argv);
enum err verb_explain(int argc, char **argv);
enum err verb_node(int argc, char **argv);
enum err verb_config(int argc, char **argv);
enum err verb_key(int argc, char **argv);
enum err verb_watch(int argc, char **argv);
enum err verb_top(int argc, char **argv);
enum err verb_logs(int argc, char **argv);
enum err verb_queue(int argc, char **argv);
enum err verb_db(int argc, char **argv);
enum err verb_cancel(int argc, char **argv);
enum err verb_pause(int argc, char **argv);
enum err verb_resume(int argc, char **argv);
enum err verb_retry(int argc, char **argv);
enum err verb_prio(int argc, char **argv);

// The exit status after a verb, when all that it printed has gone out.
int verb_end(enum err e);
