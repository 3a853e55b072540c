from medcnn.cli import main

main()
