/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The commands: one file each, one function each. argv[0] is the command's
 * name; the result is an exit code (exit_code.h).
 */
#ifndef TOOLS_COMMANDS_H
#define TOOLS_COMMANDS_H

int pull_main(int argc, char **argv);
int info_main(int argc, char **argv);
int map_main(int argc, char **argv);
int flatten_main(int argc, char **argv);
int measure_main(int argc, char **argv);
int check_main(int argc, char **argv);
int hash_main(int argc, char **argv);
int verify_main(int argc, char **argv);
int create_main(int argc, char **argv);
int ctl_main(int argc, char **argv);

extern const char pull_help[];
extern const char info_help[];
extern const char map_help[];
extern const char flatten_help[];
extern const char measure_help[];
extern const char check_help[];
extern const char hash_help[];
extern const char verify_help[];
extern const char create_help[];
extern const char ctl_help[];

#endif
