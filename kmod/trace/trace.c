// SPDX-License-Identifier: GPL-2.0-only
/* trace.c - the bodies of nooks.ko's tracepoints */
#define CREATE_TRACE_POINTS
#include "nooks_trace.h"
