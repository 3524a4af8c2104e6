// status_server: shows the last snapshot to browsers and to Prometheus: GET / and
// GET /metrics over HTTP, nothing else. It changes nothing and asks nobody: its thread
// reads snapshots, which others hand over. At a loopback address it answers only to names of
// that, so that no page of another site can read it: a proxy in front sends Host: localhost.
#pragma once

#include "common/base/err.h"
#include "coordinator/page/snapshot.h"

#define STATUS_ADDRESS "127.0.0.1:7482"

struct status_server;

// Listens at "ADDRESS:PORT", numbers both ("[::1]:80" for IPv6); port 0: any that is free;
// logs where. ERR_CONFIG: no such address. ERR_UNAVAILABLE: it is taken. Both logged.
ERR_CHECKED enum err status_server_open(struct status_server **out, const char *address);
void status_server_close(struct status_server **s); // NULL inside is fine

// Takes over the caller's reference. Never waits for a reader.
void status_server_show(struct status_server *s, struct snapshot *snapshot);
