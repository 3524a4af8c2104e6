// devices: the Vulkan devices of this machine and the one that would be used.
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/verb.h"
#include "common/config/options.h"
#include "worker/engine/device.h"

struct settings {
    bool json;
    const char *device;
};

static enum err parse(struct settings *s, struct verb_arguments *a, int argc, char **argv)
{
    const struct option_spec specs[] = {
        { .name = "device",
          .letter = 'd',
          .kind = OPTION_STRING,
          .target = &s->device,
          .value = "WHICH",
          .help = "an index, a UUID, or a part of a name: say what that would choose" },
        { .name = "json", .kind = OPTION_FLAG, .target = &s->json, .help = "for programs" },
        { .name = NULL },
    };
    const struct option_spec *const tables[] = { specs };
    const struct verb_page page = {
        .usage = "underscore devices [--device WHICH] [--json]",
        .summary =
            "Lists the Vulkan devices of this machine, with what each can do, and marks the\n"
            "one that the other verbs would use: a discrete GPU before an integrated one\n"
            "before the CPU.",
        .examples = "  underscore devices --device nvidia\n",
        .tables = tables,
        .table_count = 1,
    };
    *s = (struct settings){ 0 };
    return options_parse(&page, argc, argv, a);
}

// What a device may have beyond Vulkan 1.1.
struct feature {
    const char *name;
    bool present, used;
};

#define FEATURES 8

static void features_of(struct feature out[FEATURES], const struct device_facts *f)
{
    const struct feature all[FEATURES] = {
        { "memory budget", f->has_budget, true },
        { "subgroup size control", f->subgroup_control, true },
        { "16-bit storage", f->f16_storage, true },
        { "float16 arithmetic", f->f16_arithmetic, false },
        { "8-bit storage", f->int8_storage, false },
        { "integer dot product", f->integer_dot, false },
        { "cooperative matrix", f->cooperative_matrix, false },
        { "timeline semaphores", f->timeline, false },
    };
    for (size_t i = 0; i < FEATURES; i++)
        out[i] = all[i];
}

static void print_features(const char *label, const struct device_facts *f, bool used)
{
    struct feature features[FEATURES];
    features_of(features, f);
    const char *before = "";
    printf("    %-9s", label);
    for (size_t i = 0; i < FEATURES; i++)
        if (features[i].present && features[i].used == used) {
            printf("%s%s", before, features[i].name);
            before = ", ";
        }
    printf("%s\n", *before ? "" : "nothing");
}

static void print_device(const struct device_facts *f, bool chosen)
{
    printf("%c %u  %s\n", chosen ? '*' : ' ', f->index, f->name);
    printf("    %-9s%s, %s%s\n", "kind", device_kind_text(f->kind),
           device_vendor_text(f->vendor_id),
           f->usable ? "" : "; not usable: needs " DEVICE_NEEDS);
    printf("    %-9s%s, Vulkan %u.%u\n", "driver", f->driver, f->api_major, f->api_minor);
    printf("    %-9s%s\n", "uuid", f->uuid);
    printf("    %-9s%.1f GiB, of which %.1f may be taken now\n", "memory",
           (double) f->memory / 0x1p30, (double) f->budget / 0x1p30);
    printf("    %-9s%u", "subgroup", f->subgroup);
    if (f->subgroup_min != f->subgroup_max)
        printf(", %u to %u", f->subgroup_min, f->subgroup_max);
    printf("\n");
    print_features("uses", f, true);
    print_features("has too", f, false);
}

static void print_text(const struct device_facts *all, uint32_t count,
                       const struct device_facts *chosen)
{
    for (uint32_t i = 0; i < count; i++)
        print_device(&all[i], &all[i] == chosen);
    if (!chosen)
        return;
    printf("\n* is the one that would be used; --device N, UUID or NAME chooses another.\n");
    if (chosen->kind == DEVICE_CPU)
        printf("It is the CPU, through Mesa's driver: right, but slow beside any GPU.\n");
}

static json_t *features_json(const struct device_facts *f)
{
    struct feature features[FEATURES];
    features_of(features, f);
    json_t *all = json_array();
    for (size_t i = 0; i < FEATURES; i++)
        json_array_append_new(all, json_pack("{ss sb sb}", "name", features[i].name, "present",
                                             features[i].present, "used",
                                             features[i].present && features[i].used));
    return all;
}

static json_t *device_json(const struct device_facts *f, bool chosen)
{
    char version[32];
    snprintf(version, sizeof(version), "%u.%u", f->api_major, f->api_minor);
    return json_pack("{sI ss ss ss ss sI sI ss ss sb sb sI sI s{sI sI sI} so}", "index",
                     (json_int_t) f->index, "name", f->name, "uuid", f->uuid, "kind",
                     device_kind_text(f->kind), "vendor", device_vendor_text(f->vendor_id),
                     "vendor_id", (json_int_t) f->vendor_id, "device_id",
                     (json_int_t) f->device_id, "driver", f->driver, "vulkan", version,
                     "usable", f->usable, "chosen", chosen, "memory_bytes",
                     (json_int_t) f->memory, "budget_bytes", (json_int_t) f->budget, "subgroup",
                     "size", (json_int_t) f->subgroup, "min", (json_int_t) f->subgroup_min,
                     "max", (json_int_t) f->subgroup_max, "features", features_json(f));
}

static enum err print_json(const struct device_facts *all, uint32_t count,
                           const struct device_facts *chosen)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(list, device_json(&all[i], &all[i] == chosen));
    json_t *root = json_pack("{so}", "devices", list);
    const enum err e = root && !json_dumpf(root, stdout, JSON_INDENT(2)) ? ERR_OK : ERR_NOMEM;
    printf("\n");
    json_decref(root);
    return e;
}

enum err verb_devices(int argc, char **argv)
{
    struct settings s;
    struct verb_arguments a;
    enum err e = parse(&s, &a, argc, argv);
    if (e || a.help_shown)
        return e;
    struct device_facts *all;
    uint32_t count;
    e = device_list(&all, &count);
    if (e)
        return e;
    const struct device_facts *chosen = device_choose(all, count, s.device);
    if (s.json)
        e = print_json(all, count, chosen);
    else
        print_text(all, count, chosen);
    free(all);
    return !e && !chosen ? ERR_UNAVAILABLE : e;
}
