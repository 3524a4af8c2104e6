// film_fixture: films for the tests, made by the ffmpeg command from its own sources.
//
// FIXTURE_COUNT is a picture that is its own number: vertical stripes of 16
// pixels, black or white, the bits of the frame number from the left, lowest
// first. Whatever was copied, cut or seeked, a test can read which picture it got.
#pragma once

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIXTURE_BITS 10
#define FIXTURE_WIDTH 160
#define FIXTURE_HEIGHT 32
#define FIXTURE_COUNT \
    "geq=lum='if(mod(floor(N/pow(2,floor(X/16))),2),235,16)':cb=128:cr=128,format=yuv420p"

static char fixture_directory[] = "/tmp/underscore-media-XXXXXX";

// A name in the tests' folder; four may be in use at once.
static inline const char *fixture_path(const char *name)
{
    static char paths[4][256];
    static int next;
    char *p = paths[next++ % 4];
    snprintf(p, sizeof(paths[0]), "%s/%s", fixture_directory, name);
    return p;
}

// Run a shell command in the tests' folder; the test fails when it does.
__attribute__((format(printf, 1, 2))) static inline void fixture_run(const char *format, ...)
{
    char command[4096];
    va_list args;
    va_start(args, format);
    int n = snprintf(command, sizeof(command), "cd %s && ", fixture_directory);
    n += vsnprintf(command + n, sizeof(command) - (size_t) n, format, args);
    va_end(args);
    // The commands are this file's and its callers' own. NOLINTNEXTLINE(cert-env33-c)
    if (n >= (int) sizeof(command) || system(command) != 0)
        fail_msg("failed: %s", command);
}

#define FFMPEG "ffmpeg -nostdin -v error -y -threads 2 "

// "-f lavfi -i ..." of a counting film: rate as ffmpeg takes it, seconds.
static inline const char *fixture_counting(const char *rate, double seconds)
{
    static char text[512];
    snprintf(text, sizeof(text),
             "-f lavfi -i \"color=black:s=%dx%d:r=%s:d=%.4f," FIXTURE_COUNT "\"", FIXTURE_WIDTH,
             FIXTURE_HEIGHT, rate, seconds);
    return text;
}

static inline int fixture_is_white(const uint8_t *rgb, uint32_t width, double x, double y)
{
    return rgb[((uint32_t) y * width + (uint32_t) x) * 3 + 1] > 128;
}

// The number that a counting picture shows, whatever it was scaled to.
static inline int fixture_number(const uint8_t *rgb, uint32_t width, uint32_t height)
{
    int n = 0;
    for (int bit = 0; bit < FIXTURE_BITS; bit++)
        n |= fixture_is_white(rgb, width, width * (bit + 0.5) / FIXTURE_BITS, height * 0.5)
             << bit;
    return n;
}

static inline int fixture_setup(void **state)
{
    (void) state;
    return mkdtemp(fixture_directory) ? 0 : -1;
}

static inline int fixture_teardown(void **state)
{
    (void) state;
    char command[300];
    snprintf(command, sizeof(command), "rm -rf %s", fixture_directory);
    return system(command); // NOLINT(cert-env33-c)
}
