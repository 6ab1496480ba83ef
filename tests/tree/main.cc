// tree_check ROOT: prints every violation below ROOT as file:line: rule: detail; exit code 1 when there is one.
// Run by ctest on this tree; the rules are in tree_check.cc and include_rules.cc.
#include <cstdio>
#include <exception>
#include <vector>

#include "tree_check.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: tree_check ROOT\n", stderr);
    return 2;
  }
  try {
    const int files = dgemma::tree::CountChecked(argv[1]);
    const std::vector<dgemma::tree::Violation> violations = dgemma::tree::CheckTree(argv[1]);
    for (const dgemma::tree::Violation& violation : violations) {
      std::printf("%s\n", dgemma::tree::Format(violation).c_str());
    }
    std::printf("tree_check: %d files, %zu violations\n", files, violations.size());
    // A wrong ROOT must not pass for a clean tree.
    return violations.empty() && files >= 20 ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tree_check: %s\n", error.what());
    return 2;
  }
}
