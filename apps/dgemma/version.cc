// `dgemma version`: which program this is and how it was built.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <boost/json/object.hpp>
#include <memory>

#include "dgemma/dgemma.h"
#include "json_text.h"
#include "verbs.h"

namespace dgemma {
namespace {

constexpr const char* kCompiler =
#if defined(__clang__)
    "clang " __clang_version__;
#else
    "gcc " __VERSION__;
#endif

constexpr const char* kArchitecture =
#if defined(__x86_64__)
    "x86_64";
#elif defined(__aarch64__)
    "aarch64";
#else
        "other";
#endif

}  // namespace

void AddVersion(CLI::App& app, Program& program) {
  CLI::App* verb = app.add_subcommand("version", "Version, compiler and architecture.");
  verb->footer("Examples:\n  dgemma version\n  dgemma version --json");
  auto json = std::make_shared<bool>(false);
  verb->add_flag("--json", *json, "one JSON object");
  verb->callback([json, &program] {
    if (*json) {
      const boost::json::object object{
          {"version", Version()}, {"compiler", kCompiler}, {"architecture", kArchitecture}};
      program.out.Write(JsonText(object) + "\n");
    } else {
      program.out.Write(fmt::format("dgemma {} ({}, {})\n", Version(), kCompiler, kArchitecture));
    }
    if (program.out.failed()) program.exit_code = kExitFailure;
  });
}

}  // namespace dgemma
