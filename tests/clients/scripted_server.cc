// A server with the scripted model of tests/server/wire_scripted.h as a program, for clients in other languages: prints where
// it listens and serves until its input ends. The first argument is the milliseconds that a pass takes.
#include <cstdio>
#include <cstdlib>

#include "server/wire_scripted.h"

int main(int count, char** values) {
  dgemma::test::ScriptedServer server;
  if (count > 1) server.passes->milliseconds = std::atoi(values[1]);
  std::printf("listening on http://127.0.0.1:%d\n", server.port());
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  return 0;
}
