// The verbs of the program. Each function adds one subcommand with its flags to the command line; when the user chose
// it, its callback does the work and sets program.exit_code. One file a verb.
#pragma once

#include "program.h"

namespace dgemma {

void AddRun(CLI::App& app, Program& program);
void AddServe(CLI::App& app, Program& program);
void AddSudoku(CLI::App& app, Program& program);
void AddInspect(CLI::App& app, Program& program);
void AddTokenize(CLI::App& app, Program& program);
void AddDetokenize(CLI::App& app, Program& program);
void AddConvert(CLI::App& app, Program& program);
void AddDump(CLI::App& app, Program& program);
void AddQuantize(CLI::App& app, Program& program);
void AddLora(CLI::App& app, Program& program);
void AddSynth(CLI::App& app, Program& program);
void AddTrain(CLI::App& app, Program& program);
void AddTasks(CLI::App& app, Program& program);
void AddEval(CLI::App& app, Program& program);
void AddBench(CLI::App& app, Program& program);
void AddDoctor(CLI::App& app, Program& program);
void AddCompletion(CLI::App& app, Program& program);
void AddVersion(CLI::App& app, Program& program);
void AddHelp(CLI::App& app, Program& program);  ///< after all others, which it lists

}  // namespace dgemma
