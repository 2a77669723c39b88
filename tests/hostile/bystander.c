// SPDX-License-Identifier: GPL-2.0-only
/* bystander.c - the same driver under another name: its nook is one that others attack */
#include "hostile.c"
