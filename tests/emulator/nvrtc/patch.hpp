// Faults that tests plant into kernels: replacements in their sources, from the file that EMULATOR_PATCH names.
#pragma once
#include "compile.hpp"

namespace emulator {

// Each line of the file is `NAME<TAB>FROM<TAB>TO`: in the source or header NAME, every FROM becomes TO, where \n and \t
// stand for a line's end and a tab. Says what is wrong, such as a FROM that does not occur; empty if nothing is.
std::string apply_patch(Program& program);

}  // namespace emulator
