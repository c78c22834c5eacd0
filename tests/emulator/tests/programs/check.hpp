// Cases of a test program, each run in a process of its own: `program CASE`.
#pragma once
#include <cstdio>
#include <cstdlib>

struct Case {
    Case(const char* name, void (*run)());
    const char* name;
    void (*run)();
    Case* next;
};

#define CASE(name)                                                                                                     \
    static void case_##name();                                                                                         \
    static Case register_##name(#name, case_##name);                                                                   \
    static void case_##name()

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                             \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define CHECK_EQUAL(a, b)                                                                                              \
    do {                                                                                                               \
        auto left = (a);                                                                                               \
        auto right = (b);                                                                                              \
        if (!(left == right)) {                                                                                        \
            printf("%s:%d: %s is %g, not %g\n", __FILE__, __LINE__, #a, (double)left, (double)right);                  \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)
