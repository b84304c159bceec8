/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How much of a drawn test a sanitizer's build runs. A sanitizer finds what
 * happens at all, however often it happens, and makes these tests ten times as
 * slow: each disk and each model is a new mapping for it, and each of their
 * pages a fault. So a test keeps its scenarios and its kinds there, and draws
 * fewer seeds, or takes every eighth of the calls that it makes fail. This is
 * the one place that says how many fewer; an ordinary build runs them all.
 */
#ifndef BLOCKPULL_TESTS_EFFORT_H
#define BLOCKPULL_TESTS_EFFORT_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define EFFORT_DIVISOR 8
#else
#define EFFORT_DIVISOR 1
#endif

/* Of n seeds, or of the n cases that so many seeds reach, so many here: at least 1. */
#define EFFORT(n) (((n) + EFFORT_DIVISOR - 1) / EFFORT_DIVISOR)

/* Walks over the n-th call for every n: where they begin, and how they go on. `walk` is a number
 * of the walk, so that between them all of the calls are met. */
#define EFFORT_FIRST(walk) (1 + (walk) % EFFORT_DIVISOR)
#define EFFORT_STEP        EFFORT_DIVISOR

#endif
