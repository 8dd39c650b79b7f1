# SPDX-License-Identifier: Apache-2.0
# Suites that drive the command: a script is a test. cli/ the command line, train/ whole runs, parity/ PyTorch.
# Exit code 77 is a visible skip (no PyTorch, no MNIST).
function(routec_script_test name timeout)
  if(ROUTEC_SANITIZE)
    math(EXPR timeout "4 * ${timeout}")
  endif()
  add_test(NAME ${name} COMMAND ${ARGN})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${timeout} SKIP_RETURN_CODE 77
    ENVIRONMENT "ROUTEC=$<TARGET_FILE:routec>;ROUTEC_ROOT=${PROJECT_SOURCE_DIR};XDG_CACHE_HOME=${PROJECT_BINARY_DIR}/cache;${TEST_ENVIRONMENT}")
endfunction()

# plugins of the tests, where scripts find them: beside the executable, tests/plugins/NAME.so
add_library(test_plugin_calls MODULE ${CMAKE_CURRENT_SOURCE_DIR}/plugins/calls.c)
target_include_directories(test_plugin_calls PRIVATE ${PROJECT_SOURCE_DIR}/plugins/abi)
set_target_properties(test_plugin_calls PROPERTIES PREFIX "" OUTPUT_NAME calls C_VISIBILITY_PRESET hidden
                      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/plugins)
target_link_libraries(test_plugin_calls PRIVATE m)

file(GLOB SCRIPTS CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cli/*.sh ${CMAKE_CURRENT_SOURCE_DIR}/train/*.sh)
foreach(script ${SCRIPTS})
  get_filename_component(name ${script} NAME_WE)
  get_filename_component(folder ${script} DIRECTORY)
  get_filename_component(folder ${folder} NAME)
  routec_script_test(${folder}.${name} 600 bash ${script})
endforeach()

file(GLOB SCRIPTS CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/parity/*.py)
foreach(script ${SCRIPTS})
  get_filename_component(name ${script} NAME_WE)
  routec_script_test(parity.${name} 600 /usr/bin/python3 ${script})
endforeach()

set_property(TEST cli.memory cli.target APPEND PROPERTY ENVIRONMENT "ROUTEC_SANITIZE=${ROUTEC_SANITIZE}") # their shadow is resident too

# random programs: a generator in Python, a driver that compiles many in one process
file(GLOB RANDOM_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/random/*.c ${PROJECT_SOURCE_DIR}/compiler/driver/driver*.c)
add_executable(random_step ${RANDOM_SOURCES})
target_include_directories(random_step PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/unit)
target_include_directories(random_step PRIVATE ${PROJECT_SOURCE_DIR}/compiler/driver ${PROJECT_SOURCE_DIR}/compiler/front ${PROJECT_SOURCE_DIR}/compiler/llvm)
target_link_libraries(random_step PRIVATE routec_compiler routec_dsl routec_rt routec_template)
add_dependencies(random_step routec_backend)
target_compile_definitions(random_step PRIVATE ROUTEC_LIBDIR="${CMAKE_INSTALL_LIBDIR}" ROUTEC_LLVM_LIBRARY="")
routec_script_test(random.programs 900 bash ${CMAKE_CURRENT_SOURCE_DIR}/random/random.sh 300)
routec_script_test(random.torch 600 /usr/bin/python3 ${CMAKE_CURRENT_SOURCE_DIR}/random/torch_check.py 200)
routec_script_test(random.build 600 bash ${CMAKE_CURRENT_SOURCE_DIR}/random/build.sh 4)
set_property(TEST random.programs random.torch APPEND PROPERTY ENVIRONMENT "RANDOM_STEP=$<TARGET_FILE:random_step>")

# The loop: no page fault, no allocation. Sanitizers have an allocator of their own.
if(NOT ROUTEC_SANITIZE)
  file(GLOB LOOP_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/loop/*.c ${PROJECT_SOURCE_DIR}/compiler/driver/driver*.c)
  add_executable(quiet_loop ${LOOP_SOURCES})
  target_include_directories(quiet_loop PRIVATE ${PROJECT_SOURCE_DIR}/compiler/driver ${PROJECT_SOURCE_DIR}/compiler/front ${PROJECT_SOURCE_DIR}/compiler/llvm)
  target_link_libraries(quiet_loop PRIVATE routec_compiler routec_dsl routec_rt routec_template)
  add_dependencies(quiet_loop routec_backend)
  target_compile_definitions(quiet_loop PRIVATE ROUTEC_LIBDIR="${CMAKE_INSTALL_LIBDIR}" ROUTEC_LLVM_LIBRARY="")
  routec_script_test(loop.quiet 600 bash ${CMAKE_CURRENT_SOURCE_DIR}/loop/quiet.sh)
  set_property(TEST loop.quiet APPEND PROPERTY ENVIRONMENT "QUIET_LOOP=$<TARGET_FILE:quiet_loop>")
endif()

# The proof against the interpreter.
add_executable(prove_exchange ${CMAKE_CURRENT_SOURCE_DIR}/prove/exchange.c)
target_link_libraries(prove_exchange PRIVATE routec_compiler routec_dsl)
routec_script_test(prove.exchange 600 bash ${CMAKE_CURRENT_SOURCE_DIR}/prove/exchange.sh 100)
set_property(TEST prove.exchange APPEND PROPERTY ENVIRONMENT "PROVE_EXCHANGE=$<TARGET_FILE:prove_exchange>")

# Plugins for tests; those of bad/ must be refused.
foreach(folder good bad)
  file(GLOB SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/plugins/${folder}/*.c)
  foreach(source ${SOURCES})
    get_filename_component(name ${source} NAME_WE)
    add_library(${folder}_${name} MODULE ${source})
    target_include_directories(${folder}_${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/plugins ${PROJECT_SOURCE_DIR}/plugins/abi)
    set_target_properties(${folder}_${name} PROPERTIES PREFIX "" OUTPUT_NAME ${name}
                          LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/${folder}_plugins)
  endforeach()
endforeach()
add_dependencies(test_check_plugin good_formulas good_every)
routec_script_test(plugins.abi 120 bash ${CMAKE_CURRENT_SOURCE_DIR}/plugins/abi.sh)
routec_script_test(plugins.nan 120 bash ${CMAKE_CURRENT_SOURCE_DIR}/plugins/nan.sh)
set_property(TEST plugins.nan APPEND PROPERTY ENVIRONMENT "GOOD_PLUGINS=${PROJECT_BINARY_DIR}/tests/good_plugins")
routec_script_test(plugins.conformance 900 bash ${CMAKE_CURRENT_SOURCE_DIR}/plugins/conformance.sh)
routec_script_test(plugins.template 600 bash ${CMAKE_CURRENT_SOURCE_DIR}/plugins/template_test.sh)
routec_script_test(plugins.guide 600 bash ${CMAKE_CURRENT_SOURCE_DIR}/plugins/guide.sh)
set_property(TEST plugins.guide APPEND PROPERTY ENVIRONMENT "ROUTEC_BUILD=${PROJECT_BINARY_DIR}")
set_property(TEST plugins.template APPEND PROPERTY ENVIRONMENT "ROUTEC_BUILD=${PROJECT_BINARY_DIR}")
routec_script_test(plugins.refused 300 bash ${CMAKE_CURRENT_SOURCE_DIR}/plugins/refused.sh)
set_property(TEST plugins.refused APPEND PROPERTY ENVIRONMENT "BAD_PLUGINS=${PROJECT_BINARY_DIR}/tests/bad_plugins;ROUTEC_SANITIZE=${ROUTEC_SANITIZE}")

routec_script_test(bench.bench 300 bash ${CMAKE_CURRENT_SOURCE_DIR}/bench/bench.sh)
set_property(TEST bench.bench APPEND PROPERTY ENVIRONMENT "BENCH_PROGRAMS=${PROJECT_BINARY_DIR}/bench")
set_tests_properties(bench.bench PROPERTIES LABELS bench)

if(ROUTEC_FAULTS)
  routec_script_test(faults 1800 bash ${CMAKE_CURRENT_SOURCE_DIR}/faults.sh)
  set_property(TEST faults APPEND PROPERTY ENVIRONMENT "ROUTEC_BUILD=${PROJECT_BINARY_DIR}")
  set_tests_properties(faults PROPERTIES RUN_SERIAL ON)
endif()
